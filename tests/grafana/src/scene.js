// The scene of a dashboard's JSON.
import * as scenes from '@grafana/scenes';

const DATA = { uid: 'prometheus' };

function variable(told) {
  const { name, label } = told;
  if (told.type === 'datasource') {
    return new scenes.DataSourceVariable({ name, label, pluginId: 'prometheus', value: DATA.uid, text: 'Prometheus' });
  }
  if (told.type === 'query') {
    return new scenes.QueryVariable({
      name, label, datasource: DATA, query: told.query.query ?? told.query, isMulti: told.multi, includeAll: told.includeAll, allValue: told.allValue,
      value: told.current?.value ?? (told.includeAll ? '$__all' : ''), text: told.current?.text ?? '', refresh: told.refresh, regex: told.regex, sort: told.sort, definition: told.definition,
    });
  }
  if (told.type === 'textbox') {
    return new scenes.TextBoxVariable({ name, label, value: typeof told.query === 'string' ? told.query : '' });
  }
  throw new Error(`a variable of type ${told.type}`);
}

function panel(told) {
  const queries = told.targets.map((target) => ({ ...target, datasource: DATA }));
  const runner = new scenes.SceneQueryRunner({ datasource: DATA, queries, maxDataPoints: told.maxDataPoints });
  return new scenes.SceneGridItem({
    x: told.gridPos.x, y: told.gridPos.y, width: told.gridPos.w, height: told.gridPos.h,
    body: new scenes.VizPanel({
      key: `panel-${told.id}`, title: told.title, description: told.description, pluginId: told.type, options: told.options, fieldConfig: told.fieldConfig,
      displayMode: told.transparent ? 'transparent' : 'default',
      $data: new scenes.SceneDataTransformer({ transformations: told.transformations ?? [], $data: runner }),
    }),
  });
}

function rows(panels) {
  const children = [];
  let row;
  for (const told of panels) {
    if (told.type === 'row') {
      row = new scenes.SceneGridRow({ title: told.title, y: told.gridPos.y, isCollapsed: false, isCollapsible: true, children: (told.panels ?? []).map(panel) });
      children.push(row);
    } else if (row) {
      row.setState({ children: [...row.state.children, panel(told)] });
    } else {
      children.push(panel(told));
    }
  }
  return children;
}

export function scene(dashboard, values, from) {
  const variables = dashboard.templating.list.map(variable);
  for (const each of variables) {
    const value = values.get(`var-${each.state.name}`);
    if (value !== null) each.setState({ value, text: value });
  }
  return new scenes.EmbeddedScene({
    $timeRange: new scenes.SceneTimeRange({ from, to: 'now' }),
    $variables: new scenes.SceneVariableSet({ variables }),
    controls: [new scenes.VariableValueSelectors({}), new scenes.SceneControlsSpacer(), new scenes.SceneTimePicker({}), new scenes.SceneRefreshPicker({})],
    body: new scenes.SceneGridLayout({ children: rows(dashboard.panels) }),
  });
}
