"""How the page looks: light and dark by the system or by a switch, large enough for a projector."""

STYLE = """\
:root { color-scheme: light dark; --page: #ffffff; --text: #1a2129; --faint: #4b5561; --line: #d3d9e0;
  --raised: #f3f6f9; --link: #00589c; --strong: #1a2129; --bad: #a32020; --mark: #fff1cc; }
@media (prefers-color-scheme: dark) { :root:not([data-theme="light"]) { --page: #12161b; --text: #e8ecf0;
  --faint: #aab4bf; --line: #353d47; --raised: #1c222a; --link: #7cc0ff; --strong: #e8ecf0; --bad: #ff8f85;
  --mark: #40361a; } }
:root[data-theme="dark"] { --page: #12161b; --text: #e8ecf0; --faint: #aab4bf; --line: #353d47;
  --raised: #1c222a;
  --link: #7cc0ff; --strong: #e8ecf0; --bad: #ff8f85; --mark: #40361a; }
:root[data-theme="light"] { color-scheme: light; }
:root[data-theme="dark"] { color-scheme: dark; }
html { scroll-padding-top: 5.5rem; }
body { font: 17px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page); margin: 0; }
header, main { max-width: 90rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 1.5rem; }
h1 { font-size: 1.9rem; line-height: 1.25; margin: 0 0 0.4rem; padding-right: 7rem; text-wrap: balance; }
h2 { font-size: 1.45rem; margin: 3rem 0 0.8rem; border-bottom: 1px solid var(--line);
  padding-bottom: 0.3rem; }
h3 { font-size: 1.12rem; margin: 1.8rem 0 0.5rem; }
h4 { font-size: 1rem; margin: 1rem 0 0.3rem; }
a { color: var(--link); }
nav { position: sticky; top: 0; z-index: 5; background: var(--page); border-bottom: 1px solid var(--line);
  white-space: nowrap; overflow-x: auto; }
nav div { max-width: 90rem; margin: 0 auto; padding: 0.55rem 1.25rem; }
nav a { margin-right: 1.1rem; text-decoration: none; }
nav a:hover { text-decoration: underline; }
#theme { position: absolute; top: 1.5rem; right: max(1.25rem, calc(50vw - 43.75rem)); font: inherit;
  color: var(--text); background: var(--raised); border: 1px solid var(--line); border-radius: 6px;
  padding: 0.2rem 0.7rem; cursor: pointer; }
.sentences { font-size: 1.22rem; line-height: 1.5; max-width: 62rem; padding-left: 1.6em; }
.sentences li { margin: 0.55em 0; }
.count { color: var(--faint); }
.ties { background: var(--mark); padding: 0.5rem 0.8rem; border-radius: 6px; max-width: 62rem; }
.jumps { line-height: 1.9; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr));
  gap: 1.2rem; }
.plot { width: 100%; min-width: 0; }
.row { border-top: 1px solid var(--line); }
#maps { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr));
  gap: 0 1.6rem; }
#maps .row > .plots { grid-template-columns: 1fr; gap: 0.3rem; }
#maps .row { min-width: 0; }
details { margin: 0.4rem 0; }
summary { cursor: pointer; padding: 0.15rem 0; overflow-wrap: anywhere; }
details[open] > summary { font-weight: 600; }
details > :not(summary) { margin-left: 1.1rem; }
img { max-width: 100%; height: auto; border-radius: 4px; background: #fff; }
.chip { display: inline-block; background: var(--raised); border-radius: 5px; padding: 0 0.5em;
  margin: 0.1em 0;
  white-space: nowrap; font-size: 0.9rem; }
.cell { margin: 0.5rem 0; }
tr.bad td { background: var(--mark); }
.run { text-decoration: none; font-size: 0.8em; padding-left: 0.15em; }
:target { outline: 2px solid var(--link); outline-offset: 4px; border-radius: 4px; }
th, td { padding: 0.3rem 0.5rem; }
thead tr:last-child th, thead th[rowspan] { border-bottom-color: var(--strong); }
th { vertical-align: bottom; }
td { border-bottom-color: var(--line); vertical-align: top; }
tbody tr:hover { background: var(--raised); }
td a:hover, th button:hover { color: var(--link); }
.note, td a.run { color: var(--faint); }
.partial { color: var(--bad); }
@media print { nav, #theme { display: none; } }
"""
