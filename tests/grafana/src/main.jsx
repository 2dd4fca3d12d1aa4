// Draws /dashboards/<d>.json with Grafana's libraries; ?var-NAME=VALUE sets a variable.
import { ThemeContext } from '@grafana/data';
import { initPluginTranslations } from '@grafana/i18n';
import { LocationServiceProvider, locationService } from '@grafana/runtime';
import { loadResources, registerRuntimeDataSource } from '@grafana/scenes';
import { GlobalStyles } from '@grafana/ui';
import { createRoot } from 'react-dom/client';
import { Router } from 'react-router-dom';
import { CompatRouter } from 'react-router-dom-v5-compat';
import 'uplot/dist/uPlot.min.css';
import { prepare, theme } from './application';
import { register } from './panels';
import { Prometheus } from './prometheus';
import { scene } from './scene';

const asked = new URLSearchParams(location.search);
const source = new Prometheus();
window.prometheus = source;

prepare(source);
register();
registerRuntimeDataSource({ dataSource: source });
await initPluginTranslations('grafana-scenes', [loadResources]).catch(() => undefined);
const dashboard = await (await fetch(`/dashboards/${asked.get('d')}.json`)).json();
window.dashboard = scene(dashboard, asked, asked.get('from') ?? 'now-5m');
createRoot(document.getElementById('root')).render(
  <ThemeContext.Provider value={theme}>
    <GlobalStyles />
    <Router history={locationService.getHistory()}>
      <CompatRouter>
        <LocationServiceProvider service={locationService}>
          <window.dashboard.Component model={window.dashboard} />
        </LocationServiceProvider>
      </CompatRouter>
    </Router>
  </ThemeContext.Provider>,
);
