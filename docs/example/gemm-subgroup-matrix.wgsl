enable f16;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);
// gemm_matrix_512_512_512: 128 x 1 workgroups of 128
@group(0) @binding(0) var<storage, read> A: array<f16>;
@group(0) @binding(1) var<storage, read> B: array<f16>;
@group(0) @binding(2) var<storage, read_write> C: array<f32>;
var<workgroup> A_block: array<f16, 2560>;
var<workgroup> B_block: array<f16, 1280>;
var<workgroup> C_block: array<f32, 2048>;

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let iteration: i32 = i32(workgroup.x);
  let block_row: i32 = (iteration / 16);
  let block_col: i32 = (iteration % 16);
  {
    let t: i32 = i32(lane);
    let own_row: i32 = (t / 32) * 16;
    var sums_0_0 = subgroup_matrix_result<f32, 16, 16>();
    var sums_0_1 = subgroup_matrix_result<f32, 16, 16>();
    for (var k0: i32 = 0; k0 < 512; k0 += 32) {
      workgroupBarrier();
      for (var A_block_i: i32 = i32(lane); A_block_i < 2048; A_block_i += 128) {
        let in_bounds_8: bool = (((block_row * 64) + (A_block_i / 32)) < 512) & ((k0 + (A_block_i % 32)) < 512);
        let index_9: i32 = select(0, (((block_row * 64) + (A_block_i / 32)) * 512) + (k0 + (A_block_i % 32)), in_bounds_8);
        A_block[((A_block_i / 32) * 40) + (A_block_i % 32)] = f16(select(0.0f, f32(A[index_9]), in_bounds_8));
      }
      for (var B_block_i: i32 = i32(lane); B_block_i < 1024; B_block_i += 128) {
        let in_bounds_10: bool = ((k0 + (B_block_i / 32)) < 512) & (((block_col * 32) + (B_block_i % 32)) < 512);
        let index_11: i32 = select(0, ((k0 + (B_block_i / 32)) * 512) + ((block_col * 32) + (B_block_i % 32)), in_bounds_10);
        B_block[((B_block_i / 32) * 40) + (B_block_i % 32)] = f16(select(0.0f, f32(B[index_11]), in_bounds_10));
      }
      workgroupBarrier();
      let a_12: i32 = own_row * 40;
      let b_13: i32 = 0;
      let k_14_left_0 = subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&A_block, u32(a_12), 40);
      let k_14_right_0 = subgroupMatrixLoad<subgroup_matrix_right<f16, 16, 16>, row_major>(&B_block, u32(b_13), 40);
      let k_14_right_1 = subgroupMatrixLoad<subgroup_matrix_right<f16, 16, 16>, row_major>(&B_block, u32(b_13 + 16), 40);
      sums_0_0 = subgroupMatrixMultiplyAccumulate(k_14_left_0, k_14_right_0, sums_0_0);
      sums_0_1 = subgroupMatrixMultiplyAccumulate(k_14_left_0, k_14_right_1, sums_0_1);
      let k_15_left_0 = subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&A_block, u32(a_12 + 16), 40);
      let k_15_right_0 = subgroupMatrixLoad<subgroup_matrix_right<f16, 16, 16>, row_major>(&B_block, u32(b_13 + 640), 40);
      let k_15_right_1 = subgroupMatrixLoad<subgroup_matrix_right<f16, 16, 16>, row_major>(&B_block, u32(b_13 + 656), 40);
      sums_0_0 = subgroupMatrixMultiplyAccumulate(k_15_left_0, k_15_right_0, sums_0_0);
      sums_0_1 = subgroupMatrixMultiplyAccumulate(k_15_left_0, k_15_right_1, sums_0_1);
    }
    let row_16: i32 = 32;
    let at_17: i32 = own_row * 32;
    subgroupMatrixStore<row_major>(&C_block, u32(at_17), sums_0_0, u32(row_16));
    let at_18: i32 = (own_row * 32) + 16;
    subgroupMatrixStore<row_major>(&C_block, u32(at_18), sums_0_1, u32(row_16));
    workgroupBarrier();
    for (var e: i32 = i32(lane); e < 2048; e += 128) {
      if ((((block_row * 64) + (e / 32)) < 512) & (((block_col * 32) + (e % 32)) < 512)) {
        C[(((block_row * 64) + (e / 32)) * 512) + ((block_col * 32) + (e % 32))] = C_block[e];
      }
    }
  }
}
