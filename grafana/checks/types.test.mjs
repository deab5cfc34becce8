// tsc reads each dashboard as a literal of the types that Grafana publishes.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';

import { boards } from './boards.mjs';

const here = fileURLToPath(new URL('.', import.meta.url));
const tsc = fileURLToPath(new URL('../node_modules/typescript/bin/tsc', import.meta.url));

function errors(board) {
  const folder = mkdtempSync(`${here}types-`);
  try {
    const text = JSON.stringify(board, null, 1);
    writeFileSync(`${folder}/board.ts`, `import type { Board } from '../model';\n\nexport const board: Board = ${text};\n`);
    execFileSync(process.execPath, [tsc, '--noEmit', '--strict', '--skipLibCheck', '--module', 'esnext',
      '--moduleResolution', 'bundler', '--target', 'esnext', `${folder}/board.ts`], { encoding: 'utf8' });
    return '';
  } catch (error) {
    return error.stdout || String(error);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

for (const [name, board] of Object.entries(boards)) {
  test(`${name} has the types of @grafana/schema`, () => assert.equal(errors(board), ''));
}

test('tsc would see a wrong option, field setting, override and panel type', () => {
  const change = (edit) => {
    const board = structuredClone(boards.fleet);
    edit(board.panels);
    return errors(board);
  };
  const of = (panels, type) => panels.find((panel) => panel.type === type);
  assert.match(change((panels) => { of(panels, 'stat').options.colorMode = 'loud'; }), /loud/);
  assert.match(change((panels) => { of(panels, 'timeseries').fieldConfig.defaults.custom.fillOpaqueness = 1; }), /fillOpaqueness/);
  assert.match(change((panels) => { of(panels, 'table').fieldConfig.overrides[0].properties[0].id = 'custom.wide'; }), /custom\.wide/);
  assert.match(change((panels) => { of(panels, 'stat').type = 'statistic'; }), /statistic/);
});
