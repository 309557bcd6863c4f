// The extension module treadle._core. Bindings convert and check arguments, release the GIL and
// turn a Status into an exception; everything else is the core's.
#include <nanobind/nanobind.h>

#include "bind/python_apply.h"
#include "bind/python_cpu.h"
#include "bind/python_dispatch.h"
#include "bind/python_error.h"
#include "bind/python_grammar.h"
#include "bind/python_rows.h"
#include "bind/python_text.h"
#include "bind/python_timer.h"
#include "bind/python_tokens.h"

NB_MODULE(_core, module) {
#ifdef NDEBUG
  // What a module of the caller still holds when Python ends is no leak of ours to print about.
  nanobind::set_leak_warnings(false);
#endif
  module.doc() = "The native core of treadle: grammars, token tables, incremental text.";
  treadle::bind_errors(module);
  treadle::bind_tokens(module);
  treadle::bind_rows(module);
  treadle::bind_apply(module);
  treadle::bind_cpu(module);
  treadle::bind_dispatch(module);
  treadle::bind_grammar(module);
  treadle::bind_matcher(module);
  treadle::bind_text(module);
  treadle::bind_timer(module);
}
