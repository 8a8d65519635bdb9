/**
 * The script with which a packed job is started. It needs a POSIX shell and nothing else. Libraries of the machine come
 * first; the job's own serve only where the machine has none, or one that is too old: they are tried, not guessed.
 */

/** Exits with 0 if the library that is named can be loaded, whether or not it is one of Node's own kind. */
export const loadsScript = `try {
  process.dlopen({ exports: {} }, process.argv[2]);
} catch (e) {
  if (/cannot open|not found|no version information/i.test(e.message)) process.exitCode = 1;
}
`;

/** Paths are those that `parts.ts` gives. */
export const runScript = `#!/bin/sh
# Trains the packed model on this machine.
#   ./run --data FOLDER [--epochs N] [--device gpu|cpu|auto] ...    ./run --help lists all
#   ./run doctor       what this machine has, and which device would be taken
#   ./run inspect      what is trained, how, and what it takes
#   ./run test-gpu     every kind of kernel on this machine's GPU (jobs packed with --tests)
case $0 in */*) here=\${0%/*} ;; *) here=. ;; esac
here=$(cd "$here" && pwd) || exit 1
node=$here/bin/node

# Whether what is named cannot be loaded here.
lacks() { ! said=$("$node" "$here/lib/loads.cjs" "$1" 2>&1); }
# Looks into one more folder, behind those that are looked into already.
also() { LD_LIBRARY_PATH=\${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$here/lib/$1; export LD_LIBRARY_PATH; }

dawn=
for file in "$here"/lib/node_modules/webgpu/dist/*/dawn.node; do
  if [ -e "$file" ]; then dawn=$file; fi
done
if lacks "\${dawn:-libstdc++.so.6}"; then also c++; fi
if ! said=$("$node" -e 0 2>&1); then
  echo "error E710: the job's Node does not start: $said" >&2
  echo "  it needs a Linux for the same processor, with glibc 2.34 or newer (Debian 12, Ubuntu 22.04, RHEL 9)" >&2
  exit 1
fi
if [ -n "$dawn" ] && [ -e "$here/lib/vulkan" ] && lacks libvulkan.so.1; then also vulkan; fi

case $1 in
  doctor)
    exec "$node" "$here/lib/spngdc.mjs" "$@" ;;
  inspect)
    shift
    exec "$node" "$here/lib/spngdc.mjs" inspect "$here/artifact" "$@" ;;
  test-gpu)
    shift
    if [ ! -e "$here/lib/test-gpu.mjs" ]; then
      echo "error E711: the job was packed without tests" >&2
      echo "  pack it with --tests" >&2
      exit 1
    fi
    exec "$node" "$here/lib/test-gpu.mjs" "$@" ;;
  run)
    shift ;;
esac
exec "$node" "$here/lib/spngdc.mjs" run "$here/artifact" "$@"
`;
