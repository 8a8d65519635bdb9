/**
 * The thread that finishes a weights file: for the file in its workerData it posts the hash.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { finishFile } from './weights-file.js';

parentPort?.postMessage(finishFile(workerData));
