/**
 * Tells V8 that this process is short. V8 hands a function to its optimising compiler, on threads of its own, once it has run
 * often; in a process of a second or two half of all processor time goes into code that hardly runs again. Eight times
 * later is right for compiling ResNet-50: as long on the compiler's own thread, half the processor time in all.
 */
import { setFlagsFromString } from 'node:v8';

/** By V8's version (Node 20, 22, 24, 26), since its flags change; any other is left alone. Defaults: 66 KiB of bytecode, 3000 calls. */
const optimiseLater: Readonly<Record<string, string>> = {
  '11.3': '--interrupt-budget=540000',
  '12.4': '--invocation-count-for-turbofan=24000',
  '13.6': '--invocation-count-for-turbofan=24000',
  '14.6': '--invocation-count-for-turbofan=24000',
};

export function expectShortProcess(): void {
  const flag = optimiseLater[process.versions.v8.split('.').slice(0, 2).join('.')];
  if (flag !== undefined) setFlagsFromString(flag);
}
