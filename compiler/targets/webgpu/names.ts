/**
 * Names of the kernel as WGSL identifiers: what WGSL reserves, or what the printed text uses itself, gets an underscore.
 * Source: WebGPU Shading Language, sections 15.1 (keywords) and 15.2 (reserved words).
 */
const taken = new Set(
  `alias break case const const_assert continue continuing default diagnostic discard else enable false fn for if let loop
  override requires return struct switch true var while
  NULL Self abstract active alignas alignof as asm asm_fragment async attribute auto await become cast catch class co_await
  co_return co_yield coherent column_major common compile compile_fragment concept const_cast consteval constexpr constinit
  crate debugger decltype delete demote demote_to_helper do dynamic_cast enum explicit export extends extern external
  fallthrough filter final finally friend from fxgroup get goto groupshared highp impl implements import inline instanceof
  interface layout lowp macro macro_rules match mediump meta mod module move mut mutable namespace new nil noexcept noinline
  nointerpolation non_coherent noncoherent noperspective null nullptr of operator package packoffset partial pass patch
  pixelfragment precise precision premerge priv protected pub public readonly ref regardless register reinterpret_cast
  require resource restrict self set shared sizeof smooth snorm static static_assert static_cast std subroutine super target
  template this thread_local throw trait try type typedef typeid typename typeof union unless unorm unsafe unsized use using
  varying virtual volatile wgsl where with writeonly yield
  main lane workgroup flat abs min max sqrt floor round select bitcast array atomic vec4 f16 f32 i32 u32 bool
  atomicLoad atomicAnd atomicOr is_nan nan_min nan_max mul_high infinity_bits nan_bits
  workgroupBarrier workgroupUniformLoad storageBarrier subgroupMatrixLoad subgroupMatrixStore subgroupMatrixMultiplyAccumulate`.split(
    /\s+/,
  ),
);

/** A legal WGSL identifier for `name`. */
export const identifier = (name: string): string =>
  taken.has(name) || name === '_' || name.startsWith('__') ? `k_${name}` : name;
