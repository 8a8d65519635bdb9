/**
 * The MPI installations of a machine: the libraries that a process would load, and the programs that start one on each rank.
 */
import { spawnSync } from 'node:child_process';
import { findLibrary, findProgram } from './libraries.js';

export interface MpiReport {
  readonly libraries: readonly { readonly kind: 'Open MPI' | 'MPICH'; readonly file: string }[];
  readonly launchers: readonly {
    readonly program: string;
    /** Whose it is, where it says so. */
    readonly kind?: 'Open MPI' | 'MPICH' | 'Slurm';
  }[];
}

const libraries = [
  { kind: 'Open MPI', names: ['libmpi.so.40'] },
  { kind: 'MPICH', names: ['libmpich.so.12', 'libmpi.so.12'] },
] as const;

const launchers = ['mpirun', 'mpiexec', 'mpirun.openmpi', 'mpirun.mpich', 'srun'] as const;

export function examineMpi(): MpiReport {
  const found = libraries.flatMap(({ kind, names }) => {
    const file = names.map((n) => findLibrary(n)).find((f) => f !== undefined);
    return file === undefined ? [] : [{ kind, file }];
  });
  const programs = launchers.flatMap((name) => {
    const program = findProgram(name);
    return program === undefined ? [] : [{ program, kind: kindOf(program) }];
  });
  return { libraries: found, launchers: programs };
}

function kindOf(program: string): MpiReport['launchers'][number]['kind'] {
  const { stdout, stderr } = spawnSync(program, ['--version'], { encoding: 'utf8', timeout: 5_000 });
  const text = `${stdout}${stderr}`;
  if (/open ?mpi|open-?rte|prte/i.test(text)) return 'Open MPI';
  if (/hydra|mpich/i.test(text)) return 'MPICH';
  return /slurm/i.test(text) ? 'Slurm' : undefined;
}
