// Units, reducers, transformations, matchers and colours as @grafana/data knows them, and what it makes of them.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';

import { boards, panels, settings } from './boards.mjs';

// The library is made for browsers: it asks for their language, and for a global that Grafana sets on the window.
globalThis.navigator = { language: 'en-US', languages: ['en-US'] };
const data = createRequire(import.meta.url)('@grafana/data');
globalThis.window = {};
const theme = data.createTheme();

function unknown(known, used) {
  return panels.flatMap(({ where, panel }) => used(panel).filter((id) => !known.has(id)).map((id) => `${where}: ${id}`));
}

test('every unit is one of Grafana', () => {
  const known = new Set(data.getValueFormats().flatMap(({ submenu }) => submenu.map(({ value }) => value)));
  assert.deepEqual(unknown(known, (panel) => settings(panel, 'unit')), []);
});

test('every reducer is one of Grafana', () => {
  const known = new Set(data.fieldReducers.list().map(({ id }) => id));
  assert.deepEqual(unknown(known, ({ options }) => [...(options.reduceOptions?.calcs ?? []), ...(options.legend?.calcs ?? [])]), []);
});

test('every transformation is one of Grafana', () => {
  const known = new Set(Object.values(data.standardTransformers).map(({ id }) => id));
  assert.deepEqual(unknown(known, ({ transformations }) => transformations.map(({ id }) => id)), []);
});

test('every matcher of an override is one of Grafana, and means a query or column that is there', () => {
  const known = new Set(data.fieldMatchers.list().map(({ id }) => id));
  assert.deepEqual(unknown(known, ({ fieldConfig }) => fieldConfig.overrides.map(({ matcher }) => matcher.id)), []);
  for (const { where, panel } of panels) {
    const refs = panel.targets.map(({ refId }) => refId);
    const organize = panel.transformations.find(({ id }) => id === 'organize');
    for (const { matcher } of panel.fieldConfig.overrides) {
      if (matcher.id === 'byFrameRefID') {
        assert.ok(refs.includes(matcher.options), `${where}: ${matcher.options}`);
      } else if (organize && matcher.id === 'byName') {
        assert.ok(Object.values(organize.options.renameByName).includes(matcher.options), `${where}: ${matcher.options}`);
      }
    }
    const sorted = panel.options.sortBy?.map(({ displayName }) => displayName) ?? [];
    assert.ok(sorted.every((name) => Object.values(organize.options.renameByName).includes(name)), `${where}: ${sorted}`);
  }
});

test('every colour and colour mode is one of Grafana', () => {
  const modes = new Set(data.fieldColorModeRegistry.list().map(({ id }) => id));
  assert.deepEqual(unknown(modes, (panel) => settings(panel, 'color').map(({ mode }) => mode)), []);
  const named = (panel) => [
    ...settings(panel, 'color').flatMap(({ fixedColor }) => fixedColor ?? []),
    ...settings(panel, 'thresholds').flatMap(({ steps }) => steps.map(({ color }) => color)),
    ...settings(panel, 'mappings').flat().flatMap(({ options }) => Object.values(options).map(({ color }) => color)),
  ];
  const colours = new Set(panels.flatMap(({ panel }) => named(panel)).filter((name) => theme.visualization.getColorByName(name).startsWith('#')));
  assert.deepEqual(unknown(colours, named), []);
});

function shown(panel, value, name) {
  const config = structuredClone(panel.fieldConfig.defaults);
  for (const { matcher, properties } of panel.fieldConfig.overrides.filter(({ matcher }) => matcher.id === 'byRegexp' || matcher.options === name)) {
    properties.filter(({ id }) => !id.startsWith('custom.')).forEach((one) => { config[one.id] = one.value; });
  }
  // As Grafana does on loading: the first step begins below everything.
  config.thresholds.steps[0].value = -Infinity;
  const field = { name: 'Value', type: data.FieldType.number, config, values: [value] };
  const { prefix = '', text, suffix = '', color } = data.getDisplayProcessor({ field, theme, timeZone: 'utc' })(value);
  return { text: `${prefix}${text}${suffix}`, color };
}

const panel = (board, title) => boards[board].panels.find((one) => one.title === title);
const tile = (board, title, value) => shown(panel(board, title), value);
const column = (name, value) => shown(panel('fleet', 'Accounts, worst first'), value, name);
const hue = (name) => theme.visualization.getColorByName(name);

test('an unlimited balance reads Unlimited', () => {
  assert.equal(tile('account', 'Balance', Infinity).text, 'Unlimited');
  assert.equal(column('Balance', Infinity).text, 'Unlimited');
});

test('what is not known is said in words or a dash, in grey, never as 0', () => {
  for (const { where, panel } of panels.filter(({ panel }) => panel.type === 'stat')) {
    const { text, color } = shown(panel, null);
    assert.equal(text, panel.fieldConfig.defaults.noValue, where);
    assert.ok(color === undefined || color === '#8e8e99', where);
  }
  assert.equal(column('Balance', null).text, 'Not known');
  assert.deepEqual(column('Lasts', null), { text: '–', color: '#8e8e99' });
  assert.equal(column('team', null).text, '–');
});

test('numbers read as a person would write them', () => {
  assert.equal(column('Balance', 12345.67).text, '12,345.7');
  assert.equal(column('Lasts', 9000).text, '2.5 hours');
  assert.equal(column('Storage', 0.923).text, '92%');
  assert.equal(tile('account', 'Left at reset', -25.64).text, '-25.6');
});

test('colours say how bad it is', () => {
  assert.equal(column('Lasts', 3600).color, hue('red'));
  assert.equal(column('Lasts', 30 * 86400).color, hue('green'));
  assert.equal(tile('account', 'Left at reset', -1).color, hue('red'));
  assert.equal(tile('fleet', 'No credits left', 0).color, hue('green'));
  assert.equal(tile('fleet', 'No credits left', 1).color, hue('red'));
  assert.deepEqual(column('State', 8), { text: 'No credits left', color: hue('red') });
  assert.deepEqual(column('State', 0), { text: 'OK', color: hue('green') });
});

// Runs the transformations of a table on frames as the Prometheus data source makes them.
async function transformed(table, rows) {
  const frames = table.targets.flatMap(({ refId }) => {
    const name = table.targets.length === 1 ? 'Value' : `Value #${refId}`;
    const mine = rows.filter((row) => name in row);
    const labels = [...new Set(mine.flatMap((row) => Object.keys(row)))].filter((key) => !key.startsWith('Value'));
    const fields = [...labels, name].map((key) => ({ name: key, values: mine.map((row) => row[key]) }));
    return mine.length ? [data.toDataFrame({ refId, fields: [{ name: 'Time', values: mine.map(() => 1) }, ...fields] })] : [];
  });
  const { organizeFieldsTransformer: organize, mergeTransformer: merge } = data.standardTransformers;
  data.standardTransformersRegistry.getIfExists = (id) => ({ id, transformation: async () => (id === 'merge' ? merge : organize) });
  data.standardTransformersRegistry.get = data.standardTransformersRegistry.getIfExists;
  let result;
  await new Promise((resolve, reject) => data.transformDataFrame(table.transformations, frames)
    .subscribe({ next: (value) => { result = value; }, complete: resolve, error: reject }));
  return result[0];
}

test('the table of accounts has one row for each, its columns in order, and configured labels at the end', async () => {
  const table = panel('fleet', 'Accounts, worst first');
  const [one, two] = [{ provider: 'videodb', account: 'a' }, { provider: 'vidnavigator', account: 'a' }];
  const frame = await transformed(table, [
    { ...one, 'Value #state': 3 }, { ...two, 'Value #state': 7 },
    { ...one, team: 'media', 'Value #labels': 1 }, { ...two, team: 'live', 'Value #labels': 1 },
    { ...two, reason: 'auth', 'Value #reason': 1 },
    { ...one, 'Value #balance': Infinity },
  ]);
  const names = frame.fields.map((field) => data.getFieldDisplayName(field, frame));
  assert.deepEqual(names, ['State', 'Account', 'Provider', 'Balance', 'Last poll failed', 'team']);
  assert.equal(frame.length, 2);
  const cell = (name, row) => frame.fields[names.indexOf(name)].values[row];
  assert.deepEqual([cell('State', 0), cell('Balance', 0), cell('team', 0)], [3, Infinity, 'media']);
  assert.deepEqual([cell('State', 1), cell('Balance', 1) ?? null, cell('Last poll failed', 1)], [7, null, 'auth']);
});
