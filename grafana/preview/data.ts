// What Grafana's Prometheus data source does: variables into queries, responses into data frames.
import {
  applyFieldOverrides, cacheFieldDisplayNames, createTheme, DataFrame, dateTime, FieldConfigOptionsRegistry, FieldType, GrafanaTheme2,
  standardTransformers, standardTransformersRegistry, TimeRange, toDataFrame, transformDataFrame,
} from '@grafana/data';
import { lastValueFrom } from 'rxjs';

export interface Setup {
  dashboard: any;
  prometheus: string;
  now: number;
  theme: 'dark' | 'light';
  variables: Record<string, string>;
}

export const setup: Setup = (window as any).preview;

// JSON has no infinity: as Grafana does when it loads a dashboard, the first step of all thresholds gets it back.
for (const { fieldConfig } of setup.dashboard.panels.filter((panel: any) => panel.fieldConfig)) {
  const overridden = fieldConfig.overrides.flatMap(({ properties }: any) => properties).filter(({ id }: any) => id === 'thresholds');
  for (const { steps } of [fieldConfig.defaults.thresholds, ...overridden.map(({ value }: any) => value)]) {
    steps[0].value = -Infinity;
  }
}
export const theme: GrafanaTheme2 = createTheme({ colors: { mode: setup.theme } });

const UNITS: Record<string, number> = { m: 60, h: 3600, d: 86400 };
const SCRAPE_SECONDS = 120;
const GRAPH_POINTS = 600;

export function seconds(duration: string): number {
  return parseInt(duration, 10) * UNITS[duration.slice(-1)];
}

export const span = seconds(setup.dashboard.time.from.replace('now-', ''));
export const timeRange: TimeRange = (() => {
  const from = dateTime((setup.now - span) * 1000);
  const to = dateTime(setup.now * 1000);
  return { from, to, raw: { from, to } };
})();

function interpolate(expr: string, step: number): string {
  const builtin: Record<string, string> = {
    __rate_interval: `${Math.max(step + SCRAPE_SECONDS, 4 * SCRAPE_SECONDS)}s`,
    __interval: `${step}s`,
    __range: `${span}s`,
  };
  return expr.replace(/\$(\w+)/g, (whole, name) => builtin[name] ?? setup.variables[name] ?? whole);
}

async function ask(path: string, parameters: Record<string, string>): Promise<any[]> {
  const response = await fetch(`${setup.prometheus}/api/v1/${path}`, { method: 'POST', body: new URLSearchParams(parameters) });
  const { data, error } = await response.json();
  if (error) {
    throw new Error(`${error}: ${parameters.query}`);
  }
  return data.result;
}

const number = (text: string) => (text === '+Inf' ? Infinity : text === '-Inf' ? -Infinity : Number(text));

function legend(format: string, metric: Record<string, string>): string | undefined {
  if (format !== '__auto') {
    return format.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => metric[label] ?? '');
  }
  const labels = Object.entries(metric).filter(([name]) => name !== '__name__');
  return labels.length ? labels.map(([, value]) => value).join(' ') : undefined;
}

function asTable(target: any, series: any[], alone: boolean): DataFrame[] {
  if (!series.length) {
    return [];
  }
  const names = [...new Set(series.flatMap((one) => Object.keys(one.metric)))].filter((name) => name !== '__name__').sort();
  return [toDataFrame({
    refId: target.refId,
    fields: [
      { name: 'Time', type: FieldType.time, values: series.map(() => setup.now * 1000) },
      ...names.map((name) => ({ name, type: FieldType.string, values: series.map((one) => one.metric[name] ?? '') })),
      { name: alone ? 'Value' : `Value #${target.refId}`, type: FieldType.number, values: series.map((one) => number(one.value[1])) },
    ],
  })];
}

function asSeries(target: any, series: any[], step: number): DataFrame[] {
  return series.map((one) => {
    const points: Array<[number, string]> = one.values ?? [one.value];
    return toDataFrame({
      refId: target.refId,
      fields: [
        { name: 'Time', type: FieldType.time, config: { interval: step * 1000 }, values: points.map(([at]) => at * 1000) },
        {
          name: 'Value', type: FieldType.number, labels: one.metric, values: points.map(([, value]) => number(value)),
          config: { displayNameFromDS: legend(target.legendFormat, one.metric) },
        },
      ],
    });
  });
}

// Grafana's application registers the field options of each panel plugin; here all that a panel sets will do.
function registry({ defaults: { custom, ...defaults }, overrides }: any): FieldConfigOptionsRegistry {
  const ids = new Set<string>([
    ...Object.keys(defaults),
    ...Object.keys(custom).map((name) => `custom.${name}`),
    ...overrides.flatMap(({ properties }: any) => properties.map((one: any) => one.id)),
  ]);
  return new FieldConfigOptionsRegistry(() => [...ids].map((id) => ({
    id,
    path: id.replace(/^custom\./, ''),
    name: id,
    isCustom: id.startsWith('custom.'),
    process: (value: unknown) => value,
    shouldApply: () => true,
    override: () => null as any,
    editor: () => null as any,
  })) as any);
}

export async function panelFrames(panel: any): Promise<DataFrame[]> {
  const least = panel.interval ? seconds(panel.interval) : SCRAPE_SECONDS;
  const step = Math.max(least, Math.ceil(span / GRAPH_POINTS / 60) * 60);
  const responses = await Promise.all(panel.targets.map(async (target: any) => {
    const query = interpolate(target.expr, step);
    if (target.range) {
      const start = Math.ceil((setup.now - span) / step) * step;
      return asSeries(target, await ask('query_range', { query, start: `${start}`, end: `${setup.now}`, step: `${step}` }), step);
    }
    const series = await ask('query', { query, time: `${setup.now}` });
    return target.format === 'table' ? asTable(target, series, panel.targets.length === 1) : asSeries(target, series, step);
  }));
  const transformed = await lastValueFrom(transformDataFrame(panel.transformations, responses.flat()));
  const shown = applyFieldOverrides({
    data: transformed,
    fieldConfig: panel.fieldConfig,
    fieldConfigRegistry: registry(panel.fieldConfig),
    replaceVariables: (text) => text,
    theme,
    timeZone: 'utc',
  });
  cacheFieldDisplayNames(shown);
  return shown;
}

const used = [standardTransformers.mergeTransformer, standardTransformers.organizeFieldsTransformer,
  standardTransformers.orderFieldsTransformer, standardTransformers.filterFieldsByNameTransformer,
  standardTransformers.renameFieldsTransformer, standardTransformers.filterFieldsTransformer];
standardTransformersRegistry.setInit(() => used.map((transformation: any) => ({
  id: transformation.id, name: transformation.name, transformation: async () => transformation, editor: null as any, imageDark: '', imageLight: '',
})) as any);

export interface Mark { from: number; to: number; color: string }

export async function annotationMarks(): Promise<Mark[]> {
  const step = Math.max(60, Math.ceil(span / GRAPH_POINTS / 60) * 60);
  const all = await Promise.all(setup.dashboard.annotations.list.map(async (one: any) => {
    const series = await ask('query_range', {
      query: interpolate(one.target.expr, step), start: `${setup.now - span}`, end: `${setup.now}`, step: `${step}`,
    });
    return series.flatMap(({ values }) => {
      const marks: Mark[] = [];
      for (const [at] of values) {
        const last = marks[marks.length - 1];
        if (last && at - last.to <= step) {
          last.to = at;
        } else {
          marks.push({ from: at, to: at, color: theme.visualization.getColorByName(one.iconColor) });
        }
      }
      return marks;
    });
  }));
  return all.flat();
}
