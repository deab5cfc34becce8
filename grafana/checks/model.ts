// What a dashboard of this project may hold, in the types of @grafana/schema.
import type {
  AnnotationQuery, Dashboard, FieldConfig, GraphFieldConfig, Panel, RowPanel, TableFieldOptions, VariableModel,
} from '@grafana/schema';
import type { Options as BarGaugeOptions } from '@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen';
import type { Options as StatOptions } from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type {
  FieldConfig as TimelineFieldConfig, Options as TimelineOptions,
} from '@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen';
import type { Options as TableOptions } from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type { Options as TimeSeriesOptions } from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

// JSON holds the values of enumerations, not their names.
type Json<T> = T extends string ? `${T}`
  : T extends number | boolean | null | undefined ? T
  : T extends Array<infer Item> ? Array<Json<Item>>
  : T extends object ? { [Key in keyof T]: Json<T[Key]> }
  : T;

interface Link { title: string; url: string; targetBlank?: boolean }

type Defaults = Omit<Json<FieldConfig>, 'custom' | 'links'> & { links?: Link[] };

type Property<Custom> =
  | { [Key in keyof Required<Defaults>]: { id: Key; value: Defaults[Key] } }[keyof Defaults]
  | { [Key in keyof Required<Custom> & string]: { id: `custom.${Key}`; value: Custom[Key] } }[keyof Custom & string];

interface Target {
  refId: string;
  datasource: { type: 'prometheus'; uid: string };
  editorMode: 'code' | 'builder';
  expr: string;
  legendFormat: string;
  format: 'time_series' | 'table' | 'heatmap';
  instant: boolean;
  range: boolean;
  exemplar: boolean;
}

interface PanelOf<Kind extends string, Options, Custom>
  extends Omit<Json<Panel>, 'type' | 'options' | 'fieldConfig' | 'targets' | 'transformations'> {
  type: Kind;
  options: Json<Options>;
  targets: Target[];
  transformations: Array<{ id: string; options: Record<string, unknown> }>;
  fieldConfig: {
    defaults: Defaults & { custom: Partial<Json<Custom>> };
    overrides: Array<{ matcher: { id: string; options: string }; properties: Array<Property<Partial<Json<Custom>>>> }>;
  };
}

type AnyPanel =
  | PanelOf<'stat', StatOptions, {}>
  | PanelOf<'bargauge', BarGaugeOptions, {}>
  | PanelOf<'timeseries', TimeSeriesOptions, GraphFieldConfig>
  | PanelOf<'table', TableOptions, TableFieldOptions>
  | PanelOf<'state-timeline', TimelineOptions, TimelineFieldConfig>
  | Json<RowPanel>;

// The schema leaves to each data source what belongs to it: these are Prometheus' and the filter variable's.
type Variable = Json<VariableModel> & { definition?: string; filters?: never[]; baseFilters?: never[] };
type Annotation = Omit<Json<AnnotationQuery>, 'target'> & {
  titleFormat: string; textFormat: string; tagKeys: string; useValueForTime: boolean;
  target: { refId: string; expr: string; interval: string };
};

export type Board = Omit<Json<Dashboard>, 'panels' | 'templating' | 'annotations'> & {
  panels: AnyPanel[];
  templating: { list: Variable[] };
  annotations: { list: Annotation[] };
};
