import * as library from '../node_modules/react-custom-scrollbars-2/lib/index.js';

export const Scrollbars = library.Scrollbars ?? library.default?.Scrollbars ?? library.default;
export default Scrollbars;
