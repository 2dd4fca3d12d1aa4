// What Grafana's own application sets before it draws a dashboard.
import * as data from '@grafana/data';
import * as runtime from '@grafana/runtime';
import { from, map, of } from 'rxjs';

export const theme = data.createTheme({ colors: { mode: 'dark' } });

const THRESHOLDS = { mode: 'absolute', steps: [{ value: -Infinity, color: 'green' }, { value: 80, color: 'red' }] };

function fieldOption(id, process, defaultValue) {
  const none = () => null;
  return { id, path: id, name: id, process, defaultValue, override: none, editor: none, shouldApply: () => true, settings: {} };
}

function fieldOptions() {
  return [
    fieldOption('displayName', data.displayNameOverrideProcessor),
    fieldOption('unit', data.unitOverrideProcessor),
    fieldOption('min', data.numberOverrideProcessor),
    fieldOption('max', data.numberOverrideProcessor),
    fieldOption('decimals', data.numberOverrideProcessor),
    fieldOption('thresholds', data.thresholdsOverrideProcessor, THRESHOLDS),
    fieldOption('mappings', data.valueMappingsOverrideProcessor),
    fieldOption('noValue', data.stringOverrideProcessor),
    fieldOption('links', data.dataLinksOverrideProcessor),
    fieldOption('actions', data.identityOverrideProcessor),
    fieldOption('color', data.identityOverrideProcessor, { mode: 'palette-classic' }),
    fieldOption('filterable', data.identityOverrideProcessor),
    fieldOption('custom.hidden', data.identityOverrideProcessor),
  ];
}

function transformers() {
  const known = Object.values(data.standardTransformers).filter((each) => each?.id);
  return [...new Map(known.map((each) => [each.id, each])).values()].map((each) => ({
    id: each.id,
    name: each.name,
    transformation: async () => each,
    editor: () => null,
  }));
}

function runRequest(source, request, query) {
  const answer = (query ?? source.query.bind(source))(request);
  const stream = answer.subscribe ? answer : from(answer);
  return stream.pipe(
    map((found) => ({ state: data.LoadingState.Done, series: found.data, timeRange: request.range, request })),
  );
}

export function prepare(source) {
  runtime.config.theme2 = theme;
  data.standardFieldConfigEditorRegistry.setInit(fieldOptions);
  data.standardTransformersRegistry.setInit(transformers);
  runtime.setPluginImportUtils({ importPanelPlugin: async () => undefined, getPanelPluginFromCache: () => undefined });
  runtime.setRunRequest(runRequest);
  runtime.setEchoSrv({ addEvent() {}, flush() {}, addBackend() {} });
  runtime.setTemplateSrv({ getVariables: () => [], replace: (text) => text, containsTemplate: () => false, updateTimeRange() {} });
  runtime.setBackendSrv({ fetch: () => of({ data: {} }), get: async () => ({}), post: async () => ({}) });
  runtime.setLocationSrv?.({ update() {} });
  runtime.setAppEvents?.(new data.EventBusSrv());
  const settings = { uid: source.uid, name: 'Prometheus', type: 'prometheus', id: 1, meta: source.meta, jsonData: {} };
  runtime.setDataSourceSrv({ get: async () => source, getInstanceSettings: () => settings, getList: () => [settings], reload() {} });
}
