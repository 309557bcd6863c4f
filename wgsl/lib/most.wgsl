// Sums and winners over a workgroup: by subgroups with SUBGROUPS, else each thread reads what all
// have left. Every function here is called by all threads and begins with a barrier.

var<workgroup> most_values: array<f32, WG>;
var<workgroup> most_ids: array<u32, WG>;
var<workgroup> most_flags: array<u32, WG>;
//#if SUBGROUPS
var<private> own_lane: u32;  // of the subgroup
var<private> own_group: u32; // its number
var<private> own_groups: u32;
//#end

/// The largest value whose flag has bit 0, the lowest id of equal ones (NOBODY where no flag has it),
/// and all flags together.
struct Most { value: f32, id: u32, flag: u32 }

const NOBODY: u32 = 0xffffffffu;

fn most_of(value: f32, id: u32, flag: u32, local: u32) -> Most {
  workgroupBarrier();
  var v = select(LOWEST, value, (flag & 1u) == 1u);
  var i = select(NOBODY, id, (flag & 1u) == 1u);
//#if SUBGROUPS
  let best = subgroupMax(v);
  i = subgroupMin(select(NOBODY, i, v == best));
  let flags = subgroupOr(flag);
  if (own_lane == 0u) {
    most_values[own_group] = best;
    most_ids[own_group] = i;
    most_flags[own_group] = flags;
  }
  let count = own_groups;
//#else
  most_values[local] = v;
  most_ids[local] = i;
  most_flags[local] = flag;
  let count = WG;
//#end
  workgroupBarrier();
  var all = Most(LOWEST, NOBODY, 0u);
  for (var j = 0u; j < count; j++) {
    all.flag |= most_flags[j];
    v = most_values[j];
    i = most_ids[j];
    if (v > all.value || (v == all.value && i < all.id)) {
      all.value = v;
      all.id = i;
    }
  }
  return all;
}

fn sum_of(value: f32, local: u32) -> f32 {
  workgroupBarrier();
//#if SUBGROUPS
  let own = subgroupAdd(value);
  if (own_lane == 0u) { most_values[own_group] = own; }
  let count = own_groups;
//#else
  most_values[local] = value;
  let count = WG;
//#end
  workgroupBarrier();
  var sum = 0.0;
  for (var j = 0u; j < count; j++) { sum += most_values[j]; }
  return sum;
}
