// One component for each kind of panel that the dashboards use.
import { DataFrame, FieldType, getFieldDisplayName, getFieldDisplayValues, FieldDisplay } from '@grafana/data';
import { BarGauge, BigValue, TimeSeries, VizRepeater } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import * as React from 'react';

import { Mark, setup, theme, timeRange } from './data';

interface Props { panel: any; frames: DataFrame[]; width: number; height: number; marks: Mark[] }

function displays({ panel, frames }: Props, sparkline: boolean): FieldDisplay[] {
  return getFieldDisplayValues({
    data: frames, fieldConfig: panel.fieldConfig, reduceOptions: panel.options.reduceOptions, sparkline, theme,
    replaceVariables: (text) => text, timeZone: 'utc',
  });
}

function Stat(props: Props) {
  const { options } = props.panel;
  const found = displays(props, options.graphMode === 'area');
  return (
    <VizRepeater
      source={{}} getValues={() => found} width={props.width} height={props.height} renderCounter={0} autoGrid
      orientation={options.orientation}
      renderValue={({ value, width, height }: any) => (
        <BigValue
          value={{ ...value.display, title: found.length > 1 ? value.display.title : undefined }}
          sparkline={value.sparkline} width={width} height={height} theme={theme} colorMode={options.colorMode}
          graphMode={options.graphMode} justifyMode={options.justifyMode} textMode={options.textMode}
          hasLinks={false}
        />
      )}
    />
  );
}

function Bars(props: Props) {
  const { options } = props.panel;
  return (
    <VizRepeater
      source={{}} getValues={() => displays(props, false)} width={props.width} height={props.height} renderCounter={0}
      orientation={options.orientation} itemSpacing={10} minVizHeight={options.minVizHeight} maxVizHeight={options.maxVizHeight}
      getAlignmentFactors={(all: FieldDisplay[]) => ({
        title: all.map((one) => one.display.title ?? '').sort((a, b) => b.length - a.length)[0],
        text: all.map((one) => `${one.display.text}${one.display.suffix ?? ''}`).sort((a, b) => b.length - a.length)[0],
      })}
      renderValue={({ value, width, height, alignmentFactors }: any) => (
        <BarGauge
          value={value.display} width={width} height={height} theme={theme} field={value.field} display={value.view?.getFieldDisplayProcessor(value.colIndex)}
          orientation={options.orientation} displayMode={options.displayMode} showUnfilled={options.showUnfilled}
          valueDisplayMode={options.valueMode} namePlacement={options.namePlacement} alignmentFactors={alignmentFactors} itemSpacing={10}
        />
      )}
    />
  );
}

function Lines({ panel, frames, width, height, marks }: Props) {
  return (
    <TimeSeries
      frames={frames} width={width} height={height} timeRange={timeRange} timeZone="utc" legend={panel.options.legend}
    >
      {(builder) => {
        builder.addHook('drawClear', (plot: any) => {
          const { ctx, bbox } = plot;
          for (const mark of marks) {
            const left = Math.max(plot.valToPos(mark.from * 1000, 'x', true), bbox.left);
            const right = Math.max(plot.valToPos(mark.to * 1000, 'x', true), left + 2);
            ctx.fillStyle = `${mark.color}1a`;
            ctx.fillRect(left, bbox.top, right - left, bbox.height);
            ctx.strokeStyle = mark.color;
            ctx.setLineDash([5, 5]);
            ctx.strokeRect(left, bbox.top, right - left, bbox.height);
            ctx.setLineDash([]);
            ctx.fillStyle = mark.color;
            ctx.fillRect(left, bbox.top + bbox.height, right - left, 4);
          }
        });
        return null;
      }}
    </TimeSeries>
  );
}

function Table({ panel, frames, width, height }: Props) {
  return (
    <TableNG
      data={frames[0]} width={width} height={height} sortBy={panel.options.sortBy} cellHeight={panel.options.cellHeight}
      fieldConfig={panel.fieldConfig} enableVirtualization={false} noHeader={!panel.options.showHeader} timeRange={timeRange}
    />
  );
}

// Grafana's own state timeline is not part of the component library: this draws its bands, not its controls.
function Timeline({ frames, width, height }: Props) {
  const from = timeRange.from.valueOf();
  const names = frames.map((frame) => getFieldDisplayName(frame.fields[1], frame, frames));
  const side = Math.max(...names.map((name) => name.length)) * 7 + 12;
  const scale = (width - side) / (timeRange.to.valueOf() - from);
  return (
    <div style={{ display: 'flex', flexDirection: 'column', gap: 6, height, justifyContent: 'center' }}>
      {frames.map((frame, index) => {
        const [time, value] = frame.fields;
        const bands: Array<{ left: number; right: number; text: string; color: string }> = [];
        time.values.forEach((at: number, row: number) => {
          const shown = value.display!(value.values[row]);
          const left = side + (at - from) * scale;
          const last = bands[bands.length - 1];
          const right = left + time.config.interval! * scale;
          if (last && last.text === shown.text && left - last.right < 1) {
            last.right = right;
          } else {
            bands.push({ left, right, text: shown.text, color: shown.color! });
          }
        });
        return (
          <div key={index} style={{ position: 'relative', height: Math.min(30, height / frames.length - 6) }}>
            <div style={{ fontSize: 12, width: side - 8, textAlign: 'right', lineHeight: '24px' }}>{names[index]}</div>
            {bands.map((band) => (
              <div key={band.left} style={{
                position: 'absolute', top: 0, left: band.left, width: Math.max(1, Math.min(width, band.right) - band.left), height: '100%', background: `${band.color}cc`,
                overflow: 'hidden', padding: band.right - band.left > 60 ? '3px 8px' : 0, fontSize: 12, color: theme.colors.text.maxContrast,
              }}>{band.right - band.left > 60 ? band.text : ''}</div>
            ))}
          </div>
        );
      })}
    </div>
  );
}

const KINDS: Record<string, React.ComponentType<Props>> = {
  stat: Stat, bargauge: Bars, timeseries: Lines, table: Table, 'state-timeline': Timeline,
};

export function PanelContent(props: Props) {
  const Kind = KINDS[props.panel.type];
  const empty = !props.frames.some((frame) => frame.length && frame.fields.some((field) => field.type !== FieldType.time));
  if (empty && props.panel.type !== 'stat') {
    return (
      <div style={{ width: props.width, height: props.height, display: 'flex', alignItems: 'center', justifyContent: 'center', color: theme.colors.text.secondary }}>
        {props.panel.fieldConfig.defaults.noValue ?? 'No data'}
      </div>
    );
  }
  return <Kind {...props} />;
}
