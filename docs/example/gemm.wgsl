// gemm_512_512_512: 64 x 1 workgroups of 64
@group(0) @binding(0) var<storage, read> A: array<f32>;
@group(0) @binding(1) var<storage, read> B: array<f32>;
@group(0) @binding(2) var<storage, read_write> C: array<f32>;
var<workgroup> A_block: array<f32, 1024>;
var<workgroup> B_block: array<f32, 1024>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let iteration: i32 = i32(workgroup.x);
  let block_row: i32 = (iteration / 8);
  let block_col: i32 = (iteration % 8);
  {
    let t: i32 = i32(lane);
    let tile_row: i32 = (t / 8) * 8;
    let tile_col: i32 = (t % 8) * 8;
    var sums_0_0: vec4<f32>;
    var sums_0_1: vec4<f32>;
    var sums_1_0: vec4<f32>;
    var sums_1_1: vec4<f32>;
    var sums_2_0: vec4<f32>;
    var sums_2_1: vec4<f32>;
    var sums_3_0: vec4<f32>;
    var sums_3_1: vec4<f32>;
    var sums_4_0: vec4<f32>;
    var sums_4_1: vec4<f32>;
    var sums_5_0: vec4<f32>;
    var sums_5_1: vec4<f32>;
    var sums_6_0: vec4<f32>;
    var sums_6_1: vec4<f32>;
    var sums_7_0: vec4<f32>;
    var sums_7_1: vec4<f32>;
    for (var k0: i32 = 0; k0 < 512; k0 += 16) {
      workgroupBarrier();
      for (var A_block_i: i32 = i32(lane); A_block_i < 1024; A_block_i += 64) {
        let in_bounds_8: bool = (((block_row * 64) + (A_block_i / 16)) < 512) & ((k0 + (A_block_i % 16)) < 512);
        let index_9: i32 = select(0, (((block_row * 64) + (A_block_i / 16)) * 512) + (k0 + (A_block_i % 16)), in_bounds_8);
        A_block[((A_block_i % 16) * 64) + (A_block_i / 16)] = select(0.0f, A[index_9], in_bounds_8);
      }
      for (var B_block_i: i32 = i32(lane); B_block_i < 1024; B_block_i += 64) {
        let in_bounds_10: bool = ((k0 + (B_block_i / 64)) < 512) & (((block_col * 64) + (B_block_i % 64)) < 512);
        let index_11: i32 = select(0, ((k0 + (B_block_i / 64)) * 512) + ((block_col * 64) + (B_block_i % 64)), in_bounds_10);
        B_block[((B_block_i / 64) * 64) + (B_block_i % 64)] = select(0.0f, B[index_11], in_bounds_10);
      }
      workgroupBarrier();
      let depth_12: i32 = 16;
      var a_13: i32 = tile_row;
      var b_14: i32 = tile_col;
      for (var k_15: i32 = 0; k_15 < depth_12; k_15++) {
        let b_14_0 = vec4<f32>(B_block[b_14], B_block[b_14 + 1], B_block[b_14 + 2], B_block[b_14 + 3]);
        let b_14_1 = vec4<f32>(B_block[b_14 + 4], B_block[b_14 + 5], B_block[b_14 + 6], B_block[b_14 + 7]);
        let a_13_0 = A_block[a_13];
        sums_0_0 += a_13_0 * b_14_0;
        sums_0_1 += a_13_0 * b_14_1;
        let a_13_1 = A_block[a_13 + 1];
        sums_1_0 += a_13_1 * b_14_0;
        sums_1_1 += a_13_1 * b_14_1;
        let a_13_2 = A_block[a_13 + 2];
        sums_2_0 += a_13_2 * b_14_0;
        sums_2_1 += a_13_2 * b_14_1;
        let a_13_3 = A_block[a_13 + 3];
        sums_3_0 += a_13_3 * b_14_0;
        sums_3_1 += a_13_3 * b_14_1;
        let a_13_4 = A_block[a_13 + 4];
        sums_4_0 += a_13_4 * b_14_0;
        sums_4_1 += a_13_4 * b_14_1;
        let a_13_5 = A_block[a_13 + 5];
        sums_5_0 += a_13_5 * b_14_0;
        sums_5_1 += a_13_5 * b_14_1;
        let a_13_6 = A_block[a_13 + 6];
        sums_6_0 += a_13_6 * b_14_0;
        sums_6_1 += a_13_6 * b_14_1;
        let a_13_7 = A_block[a_13 + 7];
        sums_7_0 += a_13_7 * b_14_0;
        sums_7_1 += a_13_7 * b_14_1;
        a_13 = a_13 + 64;
        b_14 = b_14 + 64;
      }
    }
    let first_row: i32 = (block_row * 64) + tile_row;
    let first_col: i32 = (block_col * 64) + tile_col;
    var sums_elements_16 = array<f32, 64>(
      sums_0_0[0], sums_0_0[1], sums_0_0[2], sums_0_0[3], sums_0_1[0], sums_0_1[1], sums_0_1[2], sums_0_1[3],
      sums_1_0[0], sums_1_0[1], sums_1_0[2], sums_1_0[3], sums_1_1[0], sums_1_1[1], sums_1_1[2], sums_1_1[3],
      sums_2_0[0], sums_2_0[1], sums_2_0[2], sums_2_0[3], sums_2_1[0], sums_2_1[1], sums_2_1[2], sums_2_1[3],
      sums_3_0[0], sums_3_0[1], sums_3_0[2], sums_3_0[3], sums_3_1[0], sums_3_1[1], sums_3_1[2], sums_3_1[3],
      sums_4_0[0], sums_4_0[1], sums_4_0[2], sums_4_0[3], sums_4_1[0], sums_4_1[1], sums_4_1[2], sums_4_1[3],
      sums_5_0[0], sums_5_0[1], sums_5_0[2], sums_5_0[3], sums_5_1[0], sums_5_1[1], sums_5_1[2], sums_5_1[3],
      sums_6_0[0], sums_6_0[1], sums_6_0[2], sums_6_0[3], sums_6_1[0], sums_6_1[1], sums_6_1[2], sums_6_1[3],
      sums_7_0[0], sums_7_0[1], sums_7_0[2], sums_7_0[3], sums_7_1[0], sums_7_1[1], sums_7_1[2], sums_7_1[3],
    );
    for (var i: i32 = 0; i < min(8, 512 - first_row); i++) {
      for (var j: i32 = 0; j < min(8, 512 - first_col); j++) {
        let sum: f32 = sums_elements_16[i * 8 + j];
        C[((first_row + i) * 512) + (first_col + j)] = sum;
      }
    }
  }
}
