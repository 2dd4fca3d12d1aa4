// Grafana's own components, put together as its panel plugins do it.
import * as React from 'react';
import * as data from '@grafana/data';
import { sceneUtils } from '@grafana/scenes';
import * as ui from '@grafana/ui';
import { theme } from './application';

const CUSTOM = {
  drawStyle: 'line', lineWidth: 1, fillOpacity: 0, lineInterpolation: 'linear', showPoints: 'auto', pointSize: 5,
  spanNulls: undefined, stacking: { mode: 'none', group: 'A' }, axisPlacement: 'auto', axisLabel: undefined,
  scaleDistribution: { type: 'linear' }, hideFrom: { tooltip: false, viz: false, legend: false }, lineStyle: undefined,
  gradientMode: undefined, barAlignment: undefined, thresholdsStyle: undefined, axisSoftMin: undefined, axisSoftMax: undefined,
  axisBorderShow: undefined, axisCenteredZero: undefined, axisColorMode: undefined, align: 'auto', cellOptions: { type: 'auto' },
  inspect: undefined, width: undefined, minWidth: undefined,
};
const LEGEND = { showLegend: true, displayMode: 'list', placement: 'bottom', calcs: [] };
const NoData = ({ panel }) => <div>{panel.fieldConfig.defaults.noValue ?? 'No data'}</div>;

// Whether there is something to draw. Grafana's graph of NaN is as empty as one of no series.
function filled(panel) {
  return panel.data.series.some((frame) => {
    const numbers = frame.fields.filter((field) => field.type === 'number');
    return frame.length > 0 && (!numbers.length || numbers.some((field) => field.values.some((value) => Number.isFinite(value))));
  });
}

// Says so to the test, as a panel may show a text of its own where there is no data.
function marked(Panel) {
  return (panel) => (
    <div data-testid={filled(panel) ? 'data' : 'no data'}>
      <Panel {...panel} />
    </div>
  );
}

function customOptions(builder) {
  for (const [id, defaultValue] of Object.entries(CUSTOM)) {
    const none = () => null;
    builder.addCustomEditor({ id, path: id, name: id, editor: none, override: none, process: data.identityOverrideProcessor, shouldApply: () => true, defaultValue });
  }
}

function TimeSeriesPanel(panel) {
  const frames = React.useMemo(() => panel.data.series.map((each) => ({ ...each })), [panel.data.series]);
  if (!filled(panel)) return <NoData panel={panel} />;
  return (
    <ui.TimeSeries
      frames={frames} structureRev={panel.data.structureRev} timeRange={panel.timeRange} timeZone={panel.timeZone}
      width={panel.width} height={panel.height} legend={panel.options.legend ?? LEGEND} options={panel.options}
      replaceVariables={panel.replaceVariables} dataLinkPostProcessor={(link) => link}
    >
      {() => null}
    </ui.TimeSeries>
  );
}

function Repeated({ panel, renderValue, ...more }) {
  const reduceOptions = panel.options.reduceOptions ?? { calcs: ['lastNotNull'] };
  const values = () =>
    data.getFieldDisplayValues({
      fieldConfig: panel.fieldConfig, reduceOptions, replaceVariables: panel.replaceVariables, theme, data: panel.data.series, timeZone: panel.timeZone,
    });
  return (
    <ui.VizRepeater
      getValues={values} getAlignmentFactors={data.getDisplayValueAlignmentFactors} source={panel.data} width={panel.width} height={panel.height}
      renderCounter={panel.renderCounter} orientation={panel.options.orientation ?? 'auto'} renderValue={renderValue} {...more}
    />
  );
}

function StatPanel(panel) {
  const { colorMode = 'value', justifyMode = 'auto', textMode = 'auto', text } = panel.options;
  const value = ({ value: shown, width, height, count }) => (
    <ui.BigValue value={shown.display} width={width} height={height} theme={theme} count={count} colorMode={colorMode} graphMode="none" justifyMode={justifyMode} textMode={textMode} text={text} />
  );
  return <Repeated panel={panel} renderValue={value} autoGrid />;
}

function BarGaugePanel(panel) {
  const { displayMode = 'gradient', namePlacement = 'auto', showUnfilled } = panel.options;
  const bar = ({ value: shown, width, height, orientation, alignmentFactors }) => (
    <ui.BarGauge value={shown.display} field={shown.field} width={width} height={height} theme={theme} orientation={orientation} displayMode={displayMode} alignmentFactors={alignmentFactors} showUnfilled={showUnfilled} namePlacement={namePlacement} itemSpacing={8} lcdCellWidth={12} />
  );
  return <Repeated panel={panel} renderValue={bar} minVizHeight={16} />;
}

function TablePanel(panel) {
  const [rows] = panel.data.series;
  return filled(panel) ? <ui.Table data={rows} width={panel.width} height={panel.height} ariaLabel="table" /> : <NoData panel={panel} />;
}

// Its component is in none of Grafana's packages: the data is drawn as plain series.
const PANELS = { timeseries: TimeSeriesPanel, stat: StatPanel, bargauge: BarGaugePanel, table: TablePanel, 'state-timeline': TimeSeriesPanel };

export function register() {
  for (const [pluginId, component] of Object.entries(PANELS)) {
    const plugin = new data.PanelPlugin(marked(component)).useFieldConfig({ useCustomConfig: customOptions });
    sceneUtils.registerRuntimePanelPlugin({ pluginId, plugin });
  }
}
