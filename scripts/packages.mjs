// System programs that some tests need: installed with apt where that is allowed, else named.
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { run } from './setup.mjs';

/** Program, and the Debian package that brings it. */
const needed = { xz: 'xz-utils', strip: 'binutils' };

function isInstalled(program) {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Installs what is missing, or says what is left out without it. */
export function systemPackages() {
  if (process.platform !== 'linux') return;
  const missing = () => Object.keys(needed).filter((program) => !isInstalled(program));
  const packages = () => missing().map((program) => needed[program]);
  if (missing().length === 0) return;
  if (process.getuid() === 0 && isInstalled('apt-get')) {
    console.error(`Installing ${packages().join(', ')} (apt-get install) ...`);
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    run('apt-get', ['update', '-qq'], { env });
    run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...packages()], { env });
  }
  const left = missing();
  if (left.length > 0)
    console.error(
      `Packed jobs are not tested: there is no ${left.join(', no ')}. On Debian: apt-get install ${packages().join(' ')}`,
    );
}
