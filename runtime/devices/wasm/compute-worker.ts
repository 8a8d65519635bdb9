/**
 * A thread that helps with a device's work: it instantiates the module over the shared memory, says so, and follows until the
 * device is closed.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { Crew } from './crew.js';
import { instantiate } from './module.js';
import type { ThreadSetting } from './threads.js';

const { module, memory, ...member } = workerData as ThreadSetting;
const crew = new Crew({ ...member, kernels: instantiate(module, memory) });
parentPort!.postMessage('ready');
crew.follow();
