// The committed dashboards, as the checks read them.
import { readFileSync, readdirSync } from 'node:fs';

const folder = new URL('../dashboards/', import.meta.url);

export const boards = Object.fromEntries(
  readdirSync(folder).filter((name) => name.endsWith('.json'))
    .map((name) => [name.replace('.json', ''), JSON.parse(readFileSync(new URL(name, folder), 'utf8'))]));

export const panels = Object.entries(boards).flatMap(([name, board]) =>
  board.panels.filter((panel) => panel.type !== 'row').map((panel) => ({ where: `${name} / ${panel.title}`, panel })));

// All values that a panel gives a field option, as default or for single fields.
export function settings(panel, option) {
  const overridden = panel.fieldConfig.overrides.flatMap(({ properties }) => properties).filter(({ id }) => id === option);
  const standard = panel.fieldConfig.defaults[option];
  return [...(standard === undefined ? [] : [standard]), ...overridden.map(({ value }) => value)];
}
