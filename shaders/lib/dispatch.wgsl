// Where an invocation is in its launch. A grid may be folded into two dimensions (src/engine/gpu/program.ts), so there may be more
// workgroups than needed: kernels compare what they compute with its size.

const WORKGROUP: u32 = {{WORKGROUP}}u; // invocations of a workgroup

fn workgroup_index(workgroup_id: vec3u, num_workgroups: vec3u) -> u32 {
  return workgroup_id.y * num_workgroups.x + workgroup_id.x;
}

fn linear_id(workgroup_id: vec3u, num_workgroups: vec3u, invocation: u32) -> u32 {
  return workgroup_index(workgroup_id, num_workgroups) * WORKGROUP + invocation;
}
