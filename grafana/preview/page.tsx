// The whole dashboard on one page: the variables' line, then every panel where its grid position puts it.
import { DataFrame, EventBusSrv, ThemeContext } from '@grafana/data';
import { GlobalStyles, PanelChrome, PanelContextProvider } from '@grafana/ui';
import * as React from 'react';
import { createRoot } from 'react-dom/client';

import { annotationMarks, Mark, panelFrames, setup, theme } from './data';
import { PanelContent } from './panels';

const CELL = 30;
const GAP = 8;
const MARGIN = 16;
const HEAD = 92;
const column = (window.innerWidth - 2 * MARGIN + GAP) / 24;

function place({ x, y, w, h }: any): React.CSSProperties & { width: number; height: number } {
  return {
    position: 'absolute', left: MARGIN + x * column, top: HEAD + y * (CELL + GAP),
    width: w * column - GAP, height: h * (CELL + GAP) - GAP,
  };
}

function Variables() {
  const shown = setup.dashboard.templating.list.map((one: any) => {
    const chosen = one.type === 'datasource' ? 'Prometheus' : one.type === 'adhoc' ? '+' : setup.variables[one.name];
    return [one.label, chosen === '.+' ? 'All' : chosen];
  });
  const box: React.CSSProperties = { padding: '4px 10px', border: `1px solid ${theme.colors.border.medium}` };
  return (
    <div style={{ display: 'flex', gap: 12, alignItems: 'center' }}>
      {shown.map(([label, value]: string[]) => (
        <span key={label} style={{ display: 'inline-flex', fontSize: 12 }}>
          <span style={{ ...box, background: theme.colors.background.secondary, borderRight: 0 }}>{label}</span>
          <span style={{ ...box, background: theme.components.input.background }}>{value}</span>
        </span>
      ))}
    </div>
  );
}

function Panel({ panel, frames, marks }: { panel: any; frames: DataFrame[]; marks: Mark[] }) {
  const style = place(panel.gridPos);
  if (panel.type === 'row') {
    return <div style={{ ...style, fontSize: 15, fontWeight: 500, display: 'flex', alignItems: 'center' }}>⌄&nbsp; {panel.title}</div>;
  }
  return (
    <div style={style}>
      <PanelChrome title={panel.title} description={panel.description} width={style.width} height={style.height} padding={panel.type === 'table' ? 'none' : 'md'}>
        {(width, height) => <PanelContent panel={panel} frames={frames} width={width} height={height} marks={marks} />}
      </PanelChrome>
    </div>
  );
}

async function main() {
  const panels: any[] = setup.dashboard.panels;
  const [frames, marks] = await Promise.all([
    Promise.all(panels.map((panel) => (panel.type === 'row' ? [] : panelFrames(panel)))),
    annotationMarks(),
  ]);
  const context: any = { eventsScope: 'global', eventBus: new EventBusSrv(), sync: () => 0 };
  createRoot(document.getElementById('root')!).render(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <PanelContextProvider value={context}>
        <div style={{ position: 'absolute', left: MARGIN, top: 14 }}>
          <div style={{ fontSize: 20, fontWeight: 500, marginBottom: 10 }}>{setup.dashboard.title}</div>
          <Variables />
        </div>
        {panels.map((panel, index) => <Panel key={panel.id} panel={panel} frames={frames[index]} marks={marks} />)}
      </PanelContextProvider>
    </ThemeContext.Provider>
  );
}

main().catch((error) => {
  document.body.innerText = `${error.stack}`;
});
