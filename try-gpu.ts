import { readFileSync } from 'node:fs';
// @ts-ignore
import { useSwiftShader } from '/work/main/test/targets/swiftshader.mjs';
useSwiftShader();
const { compile } = await import('/work/main/compiler/compile.js');
const { manifestSchema } = await import('/work/main/ir/artifact-schema.js');
const { openDevice } = await import('/work/main/runtime/devices/open.js');
const { initialise } = await import('/work/main/runtime/training/state.js');
const { readSafetensors } = await import('/work/main/ir/safetensors.js');
const m = process.argv[2];
const t0 = performance.now();
const { files, report } = compile(readFileSync(m), 'm.onnx', { init: 'he-normal', batch: 8, optimizer: (process.argv[3] as any) ?? 'spngd' });
console.log(report, performance.now()-t0);
const manifest = manifestSchema.parse(JSON.parse(new TextDecoder().decode(files.get('manifest.json')!)));
const weights = readSafetensors(files.get('weights.safetensors')!, 'w');
const art = { dir: '', manifest, files, weights };
const cpu = await openDevice(art, 'cpu');
const t = performance.now();
const gpu = await openDevice(art, 'swiftshader');
console.log('load', performance.now()-t, gpu.description, gpu.program.functions.map((f:any)=>[f.name,f.waves]), gpu.program.memories);
for (const d of [cpu, gpu]) {
  await initialise(d, manifest, weights);
  const f = d.program.functions.find((f: any) => f.name === 'train')!;
  let s = 0;
  for (let step = 0; step < 3; step++) {
    for (const i of f.inputs) {
      const b = d.program.buffers.find((b: any) => b.name === i.buffer)!;
      const n = b.bytes / 4;
      const sc: any = { lr: 0.05, momentum: 0.9, damping: 0.01, kl_bound: 1e-3, weight_decay: 0 };
      if (i.name in sc) d.write(i.buffer, Float32Array.of(sc[i.name]));
      else if (i.name === 'valid') d.write(i.buffer, new Float32Array(n).fill(1));
      else if (b.dtype === 'i32') d.write(i.buffer, Int32Array.from({ length: n }, (_, k) => i.name === 'rng' ? k + step : k % 10));
      else d.write(i.buffer, Float32Array.from({ length: n }, (_, k) => Math.sin(k * 1.7 + step) ));
    }
    const a = d.dispatches, sb = d.submissions, t = performance.now();
    await d.run('train');
    const out = await d.read(f.outputs[0].buffer);
    console.log(d.description, [...out as any].map((x: number) => x.toPrecision(7)).join(' '), d.dispatches - a, d.submissions - sb, (performance.now() - t).toFixed(1));
  }
  d.close();
}
