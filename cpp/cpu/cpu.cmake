# Instruction sets by file: nothing else is compiled with them. Contraction off everywhere: a fused
# multiply-add stands in the source or is none, so that all variants give the same bits.
file(GLOB cpu_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.cc)
set_source_files_properties(${cpu_sources} PROPERTIES COMPILE_OPTIONS "-ffp-contract=off;-O2")
# Loops over the vocabulary, vectorised for any processor.
set_source_files_properties(${CMAKE_CURRENT_LIST_DIR}/sample.cc PROPERTIES COMPILE_OPTIONS
                            "-ffp-contract=off;-O3")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  # GCC 12 takes the undefined operands of its own intrinsics for mistakes.
  set(cpu_wide -ffp-contract=off -O3 $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>
      $<$<CXX_COMPILER_ID:GNU>:-Wno-uninitialized>)
  set(cpu_avx2 -mavx2 -mfma -mf16c)
  set(cpu_avx512 ${cpu_avx2} -mavx512f -mavx512bw -mavx512vl -mavx512dq -mprefer-vector-width=512)
  foreach(pair avx2 avx512)
    set_source_files_properties(${CMAKE_CURRENT_LIST_DIR}/dot_${pair}.cc PROPERTIES
                                COMPILE_OPTIONS "${cpu_wide};${cpu_${pair}}")
  endforeach()
  set_source_files_properties(${CMAKE_CURRENT_LIST_DIR}/dot_vnni.cc PROPERTIES
                              COMPILE_OPTIONS "${cpu_wide};${cpu_avx512};-mavx512vnni")
endif()
