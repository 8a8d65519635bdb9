/**
 * A module as `.spn`: header, state table, report of parameters, then each function with one value a line. Weights are not text.
 */
import type { Attrs, Func, Module, Node, ParameterReport, StateEntry, Value } from '../graph.js';
import { type Lines, textOf } from './lines.js';
import { columns, sameLoc, writeAttrs, writeLabel, writeLoc, writeName, writeNumber, writeType } from './write.js';

const origin = (v: { readonly loc: Value['loc'] }): string => `# ${writeLoc(v.loc)}`;
const declared = (v: Value): string => `${writeName(v.name)}: ${writeType(v.type)}`;

function stateRow(e: StateEntry): string[] {
  const init = e.init.kind === 'weights' ? 'weights' : writeNumber(e.init.value);
  const of = e.of === undefined ? '' : ` of=${writeName(e.of)}`;
  return [
    `${writeName(e.name)}: ${writeType(e.type)}`,
    e.role,
    `owner=${e.owner} lifetime=${e.lifetime} checkpoint=${e.checkpoint} init=${init}${of}`,
    origin(e),
  ];
}

function isEmpty(attrs: Attrs): boolean {
  for (const _ in attrs) return false;
  return true;
}

function nodeRow({ op, operands, attrs, results, guard, loc }: Node): string[] {
  let text = `= ${op}`;
  for (let i = 0; i < operands.length; i++) text += `${i > 0 ? ', ' : ' '}${writeName(operands[i].name)}`;
  // Braces show that a node without operands is complete; otherwise an empty list of attributes is left out.
  if (operands.length === 0 || !isEmpty(attrs)) text += ` ${writeAttrs(attrs)}`;
  let values = declared(results[0]);
  let own = true;
  for (let i = 0; i < results.length; i++) {
    if (i > 0) values += `, ${declared(results[i])}`;
    if (!sameLoc(results[i].loc, loc)) own = false;
  }
  let from = `# ${writeLoc(loc)}`;
  // All or none: the text says of no location whose it is.
  if (!own) for (let i = 0; i < results.length; i++) from += `; ${writeLoc(results[i].loc)}`;
  return [values, text, guard === undefined ? '' : `when ${writeLabel(guard)}`, from];
}

const valueRow = (v: Value): string[] => [declared(v), origin(v)];

const parameterRow = ({ name, trainable, rule, why }: ParameterReport): string[] => [
  `${writeName(name)}:`,
  trainable ? 'trainable' : 'frozen',
  `rule ${JSON.stringify(rule)}`,
  `why ${JSON.stringify(why)}`,
];

function printFunc(func: Func, level: string, to: Lines): void {
  to(`${level} @${writeName(func.name)} (`);
  columns(to, func.inputs, valueRow, [48]);
  to(') {');
  columns(to, func.nodes, nodeRow, [40, 48, 24]);
  for (const o of func.outputs) to(`  return ${writeLabel(o.name)} = ${writeName(o.value.name)}`);
  for (const u of func.updates) to(`  update ${writeName(u.state)} = ${writeName(u.value.name)}`);
  to('}');
}

export function printModuleTo(module: Module, to: Lines): void {
  to(`module ${writeName(module.name)} level ${module.level}`);
  to('');
  to('state {');
  columns(to, module.state, stateRow, [40, 17, 80]);
  to('}');
  to('');
  to('parameters {');
  columns(to, module.parameters, parameterRow, [32, 9, 32]);
  to('}');
  for (const func of module.functions) {
    to('');
    printFunc(func, module.level, to);
  }
}

export const printModule = (module: Module): string => textOf((to) => printModuleTo(module, to));
