// k34_small: 1 x 1 workgroups of 256
@group(0) @binding(0) var<storage, read> p0: array<f32>;
@group(0) @binding(1) var<storage, read> p7: array<f32>;
@group(0) @binding(2) var<storage, read_write> p10: array<i32>;
@group(0) @binding(3) var<storage, read_write> p14: array<i32>;
@group(0) @binding(4) var<storage, read_write> b4: array<f32>;
@group(0) @binding(5) var<storage, read_write> b5: array<f32>;
@group(0) @binding(6) var<storage, read> b6: array<f32>;
fn is_nan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }
fn nan_min(a: f32, b: f32) -> f32 { return select(min(a, b), a + b, is_nan(a) || is_nan(b)); }
fn nan_max(a: f32, b: f32) -> f32 { return select(max(a, b), a + b, is_nan(a) || is_nan(b)); }
var<private> infinity_bits: u32 = 0x7f800000u;
var<private> nan_bits: u32 = 0x7fc00000u;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let iteration: i32 = i32(workgroup.x);
  let workgroup_0: i32 = iteration;
  if (true) {
    let g0: i32 = 0;
    let t1: i32 = g0 * 256;
    {
      let t0: i32 = i32(lane);
      let o0: i32 = t1 + t0;
      let t2: i32 = o0 / 24;
      let t3: i32 = (o0 / 3) % 8;
      let t4: i32 = o0 % 3;
      if (o0 < 24) {
        let batch0: i32 = t2;
        let m0: i32 = t3;
        let n0: i32 = t4;
        var a0: f32 = 0.0f;
        let t5: i32 = m0 * 4;
        let t6: i32 = n0 * 4;
        for (var r1: i32 = 0; r1 < 4; r1 += 1) {
          let k0: i32 = r1;
          a0 = a0 + (p0[t5 + k0] * b6[t6 + k0]);
        }
        let r0: f32 = a0;
        b4[(m0 * 3) + n0] = nan_max((r0 + b6[n0 + 64]), 0.0f);
      }
    }
  }
  if (true) {
    let g0: i32 = 0;
    let t1: i32 = g0 * 256;
    {
      let t0: i32 = i32(lane);
      let o0: i32 = t1 + t0;
      let t2: i32 = o0 / 16;
      let t3: i32 = (o0 / 2) % 8;
      let t4: i32 = o0 % 2;
      storageBarrier();
      if (o0 < 16) {
        let batch0: i32 = t2;
        let m0: i32 = t3;
        let n0: i32 = t4;
        var a0: f32 = 0.0f;
        let t5: i32 = m0 * 3;
        let t6: i32 = n0 * 3;
        for (var r1: i32 = 0; r1 < 3; r1 += 1) {
          let k0: i32 = r1;
          a0 = a0 + (b4[t5 + k0] * b6[(t6 + k0) + 128]);
        }
        let r0: f32 = a0;
        b5[((m0 * 2) + n0) + 128] = r0 + b6[n0 + 192];
      }
    }
  }
  if (true) {
    let g0: i32 = 0;
    let t1: i32 = g0 * 256;
    {
      let t0: i32 = i32(lane);
      let o0: i32 = t1 + t0;
      storageBarrier();
      if (o0 < 1) {
        var a0: f32 = 0.0f;
        for (var r1: i32 = 0; r1 < 8; r1 += 1) {
          let i0: i32 = r1;
          a0 = a0 + p7[i0];
        }
        let r0: f32 = a0;
        b4[384] = r0;
      }
    }
  }
  if (true) {
    let g0: i32 = 0;
    let t1: i32 = g0 * 256;
    {
      let t0: i32 = i32(lane);
      let o0: i32 = t1 + t0;
      storageBarrier();
      if (o0 < 8) {
        let i0: i32 = o0;
        var a0: f32 = -bitcast<f32>(infinity_bits);
        let t2: i32 = i0 * 2;
        for (var r1: i32 = 0; r1 < 2; r1 += 1) {
          let i1: i32 = r1;
          a0 = nan_max(a0, b5[(t2 + i1) + 128]);
        }
        let r0: f32 = a0;
        b5[i0 + 192] = r0;
      }
    }
  }
  if (true) {
    let g0: i32 = 0;
    let t1: i32 = g0 * 256;
    {
      let t0: i32 = i32(lane);
      let o0: i32 = t1 + t0;
      storageBarrier();
      if (o0 < 8) {
        let i0: i32 = o0;
        var a0: f32 = 0.0f;
        var a1: f32 = 0.0f;
        let t2: i32 = i0 * 2;
        let t3: f32 = b5[i0 + 192];
        let t4: i32 = p10[i0];
        let t5: f32 = (-((1.0f / b4[384]))) * p7[i0];
        for (var r2: i32 = 0; r2 < 2; r2 += 1) {
          let i1: i32 = r2;
          let m1: f32 = b5[(t2 + i1) + 128] - t3;
          let m2: f32 = nan_min(nan_max(m1, (-104.0f)), 89.0f);
          let m3: f32 = round((m2 * 1.4426950216293335f));
          let m4: f32 = (m2 - (m3 * 0.693359375f)) - (m3 * (-0.00021219444170128554f));
          let m5: f32 = ((((((((((0.0013814596459269524f * m4) + 0.0083687175065279f) * m4) + 0.04166838899254799f) * m4) + 0.1666652113199234f) * m4) + 0.4999999403953552f) * (m4 * m4)) + m4) + 1.0f;
          let m6: i32 = i32(m3);
          let m7: i32 = bitcast<i32>(bitcast<u32>((m6 + 512)) >> (bitcast<u32>(1) & 31u)) - 256;
          let m8: f32 = (m5 * bitcast<f32>(((m7 + 127) << (bitcast<u32>(23) & 31u)))) * bitcast<f32>((((m6 - m7) + 127) << (bitcast<u32>(23) & 31u)));
          a0 = a0 + m8;
          a1 = a1 + select(0.0f, t5, (i1 == t4));
        }
        let r0: f32 = a0;
        let r1: f32 = a1;
        let m9: f32 = select(r0, (r0 * 8388608.0f), (r0 < 1.1754943508222875e-38f));
        let m10: i32 = bitcast<i32>(m9) + 4913933;
        let m11: f32 = f32((bitcast<i32>(bitcast<u32>(m10) >> (bitcast<u32>(23) & 31u)) - select(127, 150, (r0 < 1.1754943508222875e-38f))));
        let m12: f32 = bitcast<f32>(((m10 & 8388607) + 1060439283)) - 1.0f;
        let m13: f32 = m12 * m12;
        let m14: f32 = select(select(select(r0, ((m12 - ((m13 * 0.5f) - (((m13 * m12) * ((((((((((((((((0.06746601313352585f * m12) + (-0.11675640940666199f)) * m12) + 0.11888174712657928f) * m12) + (-0.12405591458082199f)) * m12) + 0.14219550788402557f) * m12) + (-0.1666799634695053f)) * m12) + 0.2000211924314499f) * m12) + (-0.25000008940696716f)) * m12) + 0.3333331346511841f)) + (m11 * (-0.00021219444170128554f))))) + (m11 * 0.693359375f)), (r0 < bitcast<f32>(infinity_bits))), (-bitcast<f32>(infinity_bits)), (r0 == 0.0f)), bitcast<f32>(nan_bits), (r0 < 0.0f));
        b4[i0 + 128] = m14;
        b5[i0 + 256] = r1;
      }
    }
  }
  if (true) {
    let g0: i32 = 0;
    let t1: i32 = g0 * 256;
    {
      let t0: i32 = i32(lane);
      let o0: i32 = t1 + t0;
      storageBarrier();
      if (o0 < 8) {
        let i0: i32 = o0;
        var a0: f32 = 0.0f;
        let t2: i32 = p10[i0];
        let t3: i32 = i0 * 2;
        let t4: f32 = b5[i0 + 192];
        let t5: f32 = b4[i0 + 128];
        for (var r1: i32 = 0; r1 < 2; r1 += 1) {
          let i1: i32 = r1;
          a0 = a0 + select(0.0f, ((b5[(t3 + i1) + 128] - t4) - t5), (i1 == t2));
        }
        let r0: f32 = a0;
        b4[i0 + 192] = r0;
      }
    }
  }
  if (true) {
    let g0: i32 = 0;
    let t1: i32 = g0 * 256;
    {
      let t0: i32 = i32(lane);
      let o0: i32 = t1 + t0;
      storageBarrier();
      if (o0 < 8) {
        let i0: i32 = o0;
        var m0: f32 = b5[(i0 * 2) + 128];
        var w0: i32 = 0;
        let t2: i32 = i0 * 2;
        for (var k0: i32 = 1; k0 < 2; k0 += 1) {
          let v0: f32 = b5[(t2 + k0) + 128];
          if (m0 < v0) {
            m0 = v0;
            w0 = k0;
          }
        }
        p14[i0] = w0;
      }
    }
  }
  if (true) {
    let g0: i32 = 0;
    let t1: i32 = g0 * 256;
    {
      let t0: i32 = i32(lane);
      let o0: i32 = t1 + t0;
      storageBarrier();
      if (o0 < 1) {
        var a0: f32 = 0.0f;
        var a1: f32 = 0.0f;
        for (var r2: i32 = 0; r2 < 8; r2 += 1) {
          let i0: i32 = r2;
          let t2: f32 = p7[i0];
          a0 = a0 + (f32((p14[i0] == p10[i0])) * t2);
          a1 = a1 + (b4[i0 + 192] * t2);
        }
        let r0: f32 = a0;
        let r1: f32 = a1;
        b5[448] = r0;
        b4[448] = r1;
      }
    }
  }
  if (true) {
    storageBarrier();
    let t1: f32 = -((1.0f / b4[384]));
    for (var g0: i32 = i32(lane); g0 < 16; g0 += 256) {
      let i0: i32 = g0 / 2;
      let i1: i32 = g0 % 2;
      let t0: i32 = (i0 * 2) + i1;
      let m15: f32 = (b5[t0 + 128] - b5[i0 + 192]) - b4[i0 + 128];
      let m16: f32 = nan_min(nan_max(m15, (-104.0f)), 89.0f);
      let m17: f32 = round((m16 * 1.4426950216293335f));
      let m18: f32 = (m16 - (m17 * 0.693359375f)) - (m17 * (-0.00021219444170128554f));
      let m19: f32 = ((((((((((0.0013814596459269524f * m18) + 0.0083687175065279f) * m18) + 0.04166838899254799f) * m18) + 0.1666652113199234f) * m18) + 0.4999999403953552f) * (m18 * m18)) + m18) + 1.0f;
      let m20: i32 = i32(m17);
      let m21: i32 = bitcast<i32>(bitcast<u32>((m20 + 512)) >> (bitcast<u32>(1) & 31u)) - 256;
      let m22: f32 = (m19 * bitcast<f32>(((m21 + 127) << (bitcast<u32>(23) & 31u)))) * bitcast<f32>((((m20 - m21) + 127) << (bitcast<u32>(23) & 31u)));
      b5[t0 + 64] = select(0.0f, (t1 * p7[i0]), (i1 == p10[i0])) - (m22 * b5[i0 + 256]);
    }
  }
  if (true) {
    let g0: i32 = 0;
    let t1: i32 = g0 * 256;
    {
      let t0: i32 = i32(lane);
      let o0: i32 = t1 + t0;
      storageBarrier();
      if (o0 < 2) {
        let i1: i32 = o0;
        var a0: f32 = 0.0f;
        for (var r1: i32 = 0; r1 < 8; r1 += 1) {
          let i0: i32 = r1;
          a0 = a0 + b5[((i0 * 2) + i1) + 64];
        }
        let r0: f32 = a0;
        b4[i1 + 320] = r0;
      }
    }
  }
  if (true) {
    let g0: i32 = 0;
    let t1: i32 = g0 * 256;
    {
      let t0: i32 = i32(lane);
      let o0: i32 = t1 + t0;
      let t2: i32 = o0 / 24;
      let t3: i32 = (o0 / 3) % 8;
      let t4: i32 = o0 % 3;
      storageBarrier();
      if (o0 < 24) {
        let batch0: i32 = t2;
        let m0: i32 = t3;
        let n0: i32 = t4;
        var a0: f32 = 0.0f;
        let t5: i32 = m0 * 2;
        for (var r1: i32 = 0; r1 < 2; r1 += 1) {
          let k0: i32 = r1;
          a0 = a0 + (b5[(t5 + k0) + 64] * b6[((k0 * 3) + n0) + 128]);
        }
        let r0: f32 = a0;
        let t6: i32 = (m0 * 3) + n0;
        b5[t6] = select(0.0f, r0, (0.0f < b4[t6]));
      }
    }
  }
  if (true) {
    let g0: i32 = 0;
    let t1: i32 = g0 * 256;
    {
      let t0: i32 = i32(lane);
      let o0: i32 = t1 + t0;
      let t2: i32 = o0 / 6;
      let t3: i32 = (o0 / 3) % 2;
      let t4: i32 = o0 % 3;
      storageBarrier();
      if (o0 < 6) {
        let batch0: i32 = t2;
        let m0: i32 = t3;
        let n0: i32 = t4;
        var a0: f32 = 0.0f;
        for (var r1: i32 = 0; r1 < 8; r1 += 1) {
          let k0: i32 = r1;
          a0 = a0 + (b5[((k0 * 2) + m0) + 64] * b4[(k0 * 3) + n0]);
        }
        let r0: f32 = a0;
        b4[((m0 * 3) + n0) + 256] = r0;
      }
    }
  }
  if (true) {
    let g0: i32 = 0;
    let t1: i32 = g0 * 256;
    {
      let t0: i32 = i32(lane);
      let o0: i32 = t1 + t0;
      storageBarrier();
      if (o0 < 3) {
        let i1: i32 = o0;
        var a0: f32 = 0.0f;
        for (var r1: i32 = 0; r1 < 8; r1 += 1) {
          let i0: i32 = r1;
          a0 = a0 + b5[(i0 * 3) + i1];
        }
        let r0: f32 = a0;
        b5[i1 + 320] = r0;
      }
    }
  }
  if (true) {
    let g0: i32 = 0;
    let t1: i32 = g0 * 256;
    {
      let t0: i32 = i32(lane);
      let o0: i32 = t1 + t0;
      let t2: i32 = o0 / 12;
      let t3: i32 = (o0 / 4) % 3;
      let t4: i32 = o0 % 4;
      storageBarrier();
      if (o0 < 12) {
        let batch0: i32 = t2;
        let m0: i32 = t3;
        let n0: i32 = t4;
        var a0: f32 = 0.0f;
        for (var r1: i32 = 0; r1 < 8; r1 += 1) {
          let k0: i32 = r1;
          a0 = a0 + (b5[(k0 * 3) + m0] * p0[(k0 * 4) + n0]);
        }
        let r0: f32 = a0;
        b4[((m0 * 4) + n0) + 64] = r0;
      }
    }
  }
}
