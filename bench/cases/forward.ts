/** The forward pass of ResNet-20 in inference form against onnxruntime, which does not train. The outputs are the same. */
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { type Case, wants } from '../harness/case.js';
import { used } from '../harness/peers.js';
import { trainer } from '../harness/program.js';
import { type Contender, calls, interleave } from '../harness/timing.js';
import { resnet20 } from '../models/nets.js';

const BATCH = 64;

export const forward: Case = {
  name: 'forward',
  title: 'ResNet-20 (CIFAR-10), batch 64, forward only',
  expected: '0.3 of onnxruntime, whose vectors are four times as wide here',
  run: async (context) => {
    if (!wants(context, 'forward')) return [];
    const threads = 1;
    const model = resnet20(true);
    const own = await trainer(model, { batch: BATCH, optimizer: 'sgd' }, threads);
    const predict = own.program.functions.find((f) => f.name === 'predict')!;
    own.call('predict');
    const ours = own.read(predict.outputs[0].buffer);
    const session = await InferenceSession.create(model, { intraOpNumThreads: threads, interOpNumThreads: 1 });
    const x = new Tensor('float32', own.inputs('predict').get('x') as Float32Array, [BATCH, 3, 32, 32]);
    const theirs = (await session.run({ x })).logits.data as Float32Array;
    const scale = Math.max(...theirs.map(Math.abs));
    const off = Math.max(...theirs.map((t, i) => Math.abs(t - ours[i]))) / scale;
    if (!(off < 1e-3)) throw new Error(`onnxruntime's logits differ from ours by ${off}`);
    used.set('onnxruntime-node', '1.30.0');
    const clock = threads > 1 ? 'wall' : context.clock;
    const other: Contender = {
      name: 'onnxruntime',
      threads,
      run: async (times: number) => {
        for (let i = 0; i < times; i++) await session.run({ x });
      },
    };
    const t = await interleave([calls('own', () => own.call('predict'), threads), other], clock, context.budget);
    const detail = `${t.time('own').toFixed(0)} ms against ${t.time('onnxruntime').toFixed(0)} ms, ${threads} thread${threads > 1 ? 's' : ''} each`;
    return [
      { what: 'forward', measured: `${t.faster('own', 'onnxruntime').toFixed(2)} x`, detail: `onnxruntime: ${detail}` },
    ];
  },
};
