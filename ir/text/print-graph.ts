/**
 * A module as `.spn`: header, state table, report of parameters, then each function with one value a line. Weights are not text.
 */
import type { Func, Module, Node, StateEntry, Value } from '../graph.js';
import { columns, sameLoc, writeAttrs, writeLabel, writeLoc, writeName, writeNumber, writeType } from './write.js';

const loc = (v: { readonly loc: Value['loc'] }): string => `# ${writeLoc(v.loc)}`;
const declared = (v: Value): string => `${writeName(v.name)}: ${writeType(v.type)}`;

function stateRow(e: StateEntry): string[] {
  const init = e.init.kind === 'weights' ? 'weights' : writeNumber(e.init.value);
  const of = e.of === undefined ? '' : ` of=${writeName(e.of)}`;
  return [
    `${writeName(e.name)}: ${writeType(e.type)}`,
    e.role,
    `owner=${e.owner} lifetime=${e.lifetime} checkpoint=${e.checkpoint} init=${init}${of}`,
    loc(e),
  ];
}

function nodeRow({ op, operands, attrs, results, guard, loc: own }: Node): string[] {
  let text = `= ${op}`;
  for (let i = 0; i < operands.length; i++) text += `${i > 0 ? ', ' : ' '}${writeName(operands[i].name)}`;
  // Braces show that a node without operands is complete; otherwise an empty list of attributes is left out.
  if (operands.length === 0 || Object.keys(attrs).length > 0) text += ` ${writeAttrs(attrs)}`;
  const further = results.every((r) => sameLoc(r.loc, own)) ? [] : results.map((r) => r.loc);
  return [
    results.length === 1 ? declared(results[0]) : results.map(declared).join(', '),
    text,
    guard === undefined ? '' : `when ${writeLabel(guard)}`,
    `# ${further.length === 0 ? writeLoc(own) : [own, ...further].map(writeLoc).join('; ')}`,
  ];
}

const values = (list: readonly Value[]): string[] =>
  columns(
    list.map((v) => [declared(v), loc(v)]),
    [48],
  );

function printFunc(func: Func, level: string): string[] {
  return [
    `${level} @${writeName(func.name)} (`,
    ...values(func.inputs),
    ') reads (',
    ...values(func.reads),
    ') {',
    ...columns(func.nodes.map(nodeRow), [40, 48, 24]),
    ...func.outputs.map((o) => `  return ${writeLabel(o.name)} = ${writeName(o.value.name)}`),
    ...func.updates.map((u) => `  update ${writeName(u.state)} = ${writeName(u.value.name)}`),
    '}',
  ];
}

export function printModule(module: Module): string {
  const lines = [
    `module ${writeName(module.name)} level ${module.level}`,
    '',
    'state {',
    ...columns(module.state.map(stateRow), [40, 17, 80]),
    '}',
    '',
    'parameters {',
    ...columns(
      module.parameters.map((p) => [
        `${writeName(p.name)}:`,
        p.trainable ? 'trainable' : 'frozen',
        `rule ${JSON.stringify(p.rule)}`,
        `why ${JSON.stringify(p.why)}`,
      ]),
      [32, 9, 32],
    ),
    '}',
  ];
  return `${[...lines, ...module.functions.flatMap((f) => ['', ...printFunc(f, module.level)])].join('\n')}\n`;
}
