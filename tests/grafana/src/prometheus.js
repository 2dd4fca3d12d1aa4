// A data source on Prometheus' HTTP API. In Grafana, that is a part of its server.
import { toDataFrame } from '@grafana/data';
import { RuntimeDataSource, sceneGraph } from '@grafana/scenes';

const SHORTEST_STEP = 5;
const SCRAPES = 20;

function legend(labels, format) {
  if (format && format !== '__auto') {
    return format.replace(/\{\{\s*(.+?)\s*\}\}/g, (_, name) => labels[name] ?? '');
  }
  const pairs = Object.entries(labels).filter(([name]) => name !== '__name__');
  return `${labels.__name__ ?? ''}{${pairs.map(([name, value]) => `${name}="${value}"`).join(', ')}}`;
}

// As Grafana's server has it: no graph is drawn of numbers with a NaN among them.
function number([, text]) {
  return text === 'NaN' ? null : Number(text);
}

function table(target, series) {
  const names = [...new Set(series.flatMap((each) => Object.keys(each.metric)))].sort();
  return toDataFrame({
    refId: target.refId,
    fields: [
      { name: 'Time', type: 'time', values: series.map((each) => each.value[0] * 1000) },
      ...names.map((name) => ({ name, type: 'string', values: series.map((each) => each.metric[name] ?? '') })),
      { name: 'Value', type: 'number', values: series.map((each) => number(each.value)) },
    ],
  });
}

function frame(target, series, step) {
  const points = series.values ?? [series.value];
  const name = legend(series.metric, target.legendFormat);
  return toDataFrame({
    refId: target.refId,
    name,
    meta: { type: 'timeseries-multi' },
    fields: [
      { name: 'Time', type: 'time', values: points.map((point) => point[0] * 1000), config: { interval: step * 1000 } },
      { name: 'Value', type: 'number', labels: series.metric, values: points.map(number), config: { displayNameFromDS: name } },
    ],
  });
}

export class Prometheus extends RuntimeDataSource {
  constructor() {
    super('prometheus', 'prometheus');
    this.interval = `${SHORTEST_STEP}s`;
    // Read by the test: each query as it was sent, and the number of series in its answer.
    this.asked = [];
  }

  async ask(path, parameters) {
    const answer = await (await fetch(`/api/v1/${path}?${new URLSearchParams(parameters)}`)).json();
    if (answer.status !== 'success') throw new Error(`${answer.error}: ${JSON.stringify(parameters)}`);
    return answer.data;
  }

  async query(request) {
    const start = request.range.from.valueOf() / 1000;
    const end = request.range.to.valueOf() / 1000;
    const step = Math.max(SHORTEST_STEP, Math.ceil((request.intervalMs ?? 15000) / 1000));
    const variables = {
      ...request.scopedVars,
      __rate_interval: { value: `${Math.max(step + SHORTEST_STEP, SCRAPES)}s` },
      __interval: { value: `${step}s` },
      __range: { value: `${Math.round(end - start)}s` },
      __range_s: { value: Math.round(end - start) },
    };
    const panel = request.scopedVars.__sceneObject.value.valueOf();
    const several = (value) => (Array.isArray(value) ? `(${value.join('|')})` : String(value));
    const frames = [];
    for (const target of request.targets.filter((each) => !each.hide)) {
      const query = sceneGraph.interpolate(panel, target.expr, variables, several);
      const { result } =
        target.instant && !target.range
          ? await this.ask('query', { query, time: end })
          : await this.ask('query_range', { query, start, end, step });
      this.asked.push([query, result.length]);
      if (target.format === 'table') frames.push(table(target, result));
      else frames.push(...result.map((series) => frame(target, series, step)));
    }
    return { data: frames };
  }

  async metricFindQuery(query) {
    const asked = typeof query === 'string' ? query : query.query;
    const parts = /^label_values\((?:(.*),\s*)?([a-zA-Z_]\w*)\)$/.exec(asked);
    if (!parts) throw new Error(`the query of a variable is not understood: ${asked}`);
    const series = parts[1] ? { 'match[]': sceneGraph.interpolate(window.dashboard, parts[1]) } : {};
    return (await this.ask(`label/${parts[2]}/values`, series)).map((text) => ({ text }));
  }
}
