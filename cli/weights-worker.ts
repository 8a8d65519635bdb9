/**
 * The thread that finishes a weights file: for the file in its workerData it posts the hash, then writes the bytes.
 */
import { writeFileSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { finishFile, type Work } from './weights-file.js';

const { descriptor, ...unfinished } = workerData as Work;
parentPort?.postMessage(finishFile(unfinished));
if (descriptor !== undefined) writeFileSync(descriptor, new Uint8Array(unfinished.memory));
