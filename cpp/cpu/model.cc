#include "cpu/model.h"

#include <algorithm>
#include <string>

namespace treadle::cpu {

namespace {

Op op_of(const Site& site) {
  return static_cast<Op>(site.op);
}

bool multiplies(Op op) {
  return op == Op::linear || op == Op::experts_up || op == Op::experts_down;
}

class Binder {
 public:
  Binder(BoundPlan& bound, const Model& model) : bound_(bound), model_(model) {}

  Status run() {
    const std::vector<Site>& sites = bound_.plan.sites;
    bound_.uses.resize(sites.size());
    bound_.pages = SIZE_MAX;
    for (size_t i = 0; i < sites.size(); ++i) {
      std::string fault = site(sites[i], bound_.uses[i]);
      if (!fault.empty()) {
        return invalid_request("plan", "site " + std::to_string(i) + " " + fault +
                                           "; bind the weights this plan was compiled for");
      }
    }
    stage();
    // Where float and integer weights read the same PREP, LINEAR quantises its rows itself.
    for (size_t i = 0; i < sites.size(); ++i) {
      const SiteUse& use = bound_.uses[i];
      if (sites[i].has(site_staged) && use.integers && !use.writes_int8) {
        bound_.most_loaded = std::max<size_t>(bound_.most_loaded, bound_.plan.head.rows);
      }
    }
    return strips();
  }

 private:
  const Param* param(uint32_t id) const {
    return id < model_.params.size() ? &model_.params[id] : nullptr;
  }

  bool vector(uint32_t id, size_t count) const {  // absent is well
    if (id == kNone) return true;
    const Param* p = param(id);
    return p && p->values && p->count == count;
  }

  std::string site(const Site& s, SiteUse& use) {
    const Op op = op_of(s);
    if (!vector(s.norm, s.k) || !vector(s.post, s.k)) return "has a norm of another width";
    for (uint32_t j = 0; j < s.parts; ++j) {
      const Param* p = param(s.w[j]);
      if (!p || !p->packed) return "names a weight that is not bound";
      const size_t columns = op == Op::embed ? s.n : s.k;
      const bool experts = op == Op::experts_up || op == Op::experts_down;
      if (p->shape.columns != columns || (op != Op::embed && p->shape.rows != s.rows[j]) ||
          p->experts != (experts ? s.experts : 1)) {
        return "has a weight of another shape";
      }
      if (!vector(s.b[j], s.rows[j])) return "has a bias of another width";
      (kind_info(p->shape.kind).integer ? use.integers : use.floats) = true;
    }
    if (multiplies(op)) {
      if (s.parts == 0) return "has no weight";
      bound_.widest_load = std::max<size_t>(bound_.widest_load, s.k);
      const size_t rows = bound_.plan.head.rows * (op == Op::experts_down ? s.active : 1);
      if (op != Op::linear || !s.has(site_staged)) {
        bound_.most_loaded = std::max(bound_.most_loaded, rows);
      }
    }
    if (op == Op::prep) bound_.widest_load = std::max<size_t>(bound_.widest_load, s.k);
    if (op == Op::embed && s.parts != 1) return "has no table";
    if (op == Op::kv || op == Op::attn) return attention(s, use);
    return "";
  }

  std::string attention(const Site& s, SiteUse& use) {
    if (s.heads == 0) return "has no heads";
    if (s.state >= model_.states.size()) return "names a KV state that is not bound";
    const State& state = model_.states[s.state];
    if (!state.data || state.kv_heads != s.kv_heads || state.size != s.head) {
      return "has a KV state of another shape";
    }
    bound_.pages = std::min(bound_.pages, state.pages);
    if (!vector(s.q_norm, s.head) || !vector(s.k_norm, s.head)) {
      return "has a head norm of another width";
    }
    if (s.turned == 0) return "";
    const Param* freq = param(s.freq);
    if (!freq || !freq->values || freq->count != s.turned) return "has no such frequencies";
    for (uint32_t i = 0; i < bound_.rotations.size(); ++i) {
      const Rotation& r = bound_.rotations[i];
      if (r.freq == s.freq && r.mscale == s.mscale) use.rotation = i;
    }
    if (use.rotation == kNone) {
      use.rotation = static_cast<uint32_t>(bound_.rotations.size());
      bound_.rotations.push_back({s.freq, s.turned, s.mscale});
    }
    return "";
  }

  // Sites stand in the order of the phases: the readers of a PREP follow it.
  void stage() {
    const std::vector<Site>& sites = bound_.plan.sites;
    SiteUse* prep = nullptr;
    for (size_t i = 0; i < sites.size(); ++i) {
      if (op_of(sites[i]) == Op::prep) {
        prep = &bound_.uses[i];
        prep->writes_int8 = sites[i].k % 32 == 0;
      } else if (prep && sites[i].has(site_staged) && bound_.uses[i].floats) {
        prep->writes_int8 = false;
      }
    }
    bool int8 = false;
    for (size_t i = 0; i < sites.size(); ++i) {  // readers learn what lies there
      if (op_of(sites[i]) == Op::prep)
        int8 = bound_.uses[i].writes_int8;
      else if (sites[i].has(site_staged))
        bound_.uses[i].writes_int8 = int8;
    }
  }

  Status strips() const {
    for (const Task& t : bound_.plan.tasks) {
      const Site& s = bound_.plan.sites[t.p0];
      if (!multiplies(op_of(s))) continue;
      uint64_t lanes = 0, groups = 0;
      for (uint32_t j = 0; j < s.parts; ++j) {
        lanes += s.lane[j];
        groups = std::max<uint64_t>(groups, (s.rows[j] + s.lane[j] - 1) / s.lane[j]);
      }
      const bool whole = !s.act || (t.w_tile0 % 2 == 0 && t.w_tiles % 2 == 0);
      if (!whole || t.w_tile0 + uint64_t{t.w_tiles} > lanes * groups / kStripRows) {
        return invalid_request("plan", "a task takes strips that are not there");
      }
    }
    return ok_status();
  }

  BoundPlan& bound_;
  const Model& model_;
};

}  // namespace

Result<BoundPlan> bind_plan(Plan plan, const Model& model) {
  BoundPlan bound;
  bound.plan = std::move(plan);
  Status status = Binder(bound, model).run();
  if (!status.ok()) return status;
  return bound;
}

}  // namespace treadle::cpu
