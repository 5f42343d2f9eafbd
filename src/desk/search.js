// The search: candidates and looked-at ground, out of the events alone. No map is fetched from anywhere: the
// page is used in a field. What is drawn is metres, north up.
const FOUND = {
  person: ['Person', 'nobody'], vehicle: ['Vehicle', 'unplugged'], animal: ['Animal', 'ready'], warm_object: ['Warm object', 'fault'],
};
const ENDED = {
  mission_stopped: 'the mission was stopped', out_of_evidence: 'looked again, nothing there', lost: 'moved on and was lost',
  merged: 'the same as another', crowded: 'too many candidates',
};
const POD = { low: 'below 50 %', medium: '50 to 80 %', high: '80 to 95 %', very_high: 'above 95 %' };
// How long a find stays on the large panel.
const FOUND_MS = 60000;
const finds = new Map();          // candidate -> envelope, the newest
let ground = null;                // the newest search.coverage
let numbers = 0;

function learnSearch(e) {
  if (!e) return false;
  e.at = Date.parse(e.time);
  if (e.type === 'vigil.v1.search.coverage') {
    if (!ground || ground.seq < e.seq || ground.bootid !== e.bootid) ground = e;
    return true;
  }
  if (e.type !== 'vigil.v1.search.detection') return false;
  const before = finds.get(e.data.candidate);
  if (before && before.bootid === e.bootid && before.seq >= e.seq) return true;
  e.number = before ? before.number : ++numbers;
  e.since = before ? before.since : e.at;
  finds.set(e.data.candidate, e);
  if (finds.size > 200) finds.delete([...finds.values()].sort((a, b) => a.at - b.at)[0].data.candidate);
  return true;
}
function found() {
  return [...finds.values()].sort((a, b) => gone(a.data) - gone(b.data)
    || b.data.is_target - a.data.is_target || b.data.likelihoods.person - a.data.likelihoods.person || a.number - b.number);
}
// A mission that is over leaves what was found where it is.
function gone(d) { return d.state === 'end' && d.end !== 'mission_stopped'; }
function percent(p) { return (p >= 0.995 ? 'over 99' : p < 0.01 ? 'below 1' : Math.round(p * 100)) + ' %'; }
function within(m) { return m < 10 ? m.toFixed(1) : String(Math.round(m)); }
function place(p) { return p.lat.toFixed(6) + ', ' + p.lon.toFixed(6); }
function what(d) { return (FOUND[d.class] || [words(d.class)])[0]; }

function findItem(e) {
  const d = e.data, li = el('li'), over = gone(d);
  if (over) li.className = 'over';
  li.append(el('span', 'tag ' + (d.is_target ? 'target' : 'other'), String(e.number)));
  li.append(el('b', '', what(d) + (over ? ', ended' : d.is_target ? '' : ', not what is looked for')));
  const copy = el('button', '', place(d.position));
  copy.type = 'button';
  copy.title = 'Copy the place';
  copy.addEventListener('click', () => navigator.clipboard && navigator.clipboard.writeText(place(d.position)));
  li.append(copy);
  const bits = ['within ' + within(d.position.ce90_m) + ' m nine times in ten', 'height ' + within(d.position.hae_m) + ' m above the ellipsoid ± ' + within(d.position.le90_m)];
  const l = Object.entries(d.likelihoods).filter(([, p]) => p >= 0.05).sort((a, b) => b[1] - a[1]);
  bits.push(l.map(([c, p]) => words(c) + ' ' + percent(p)).join(', '));
  bits.push('seen from ' + d.views + (d.views === 1 ? ' side' : ' sides') + ', last at ' + clock(d.last_seen));
  if (d.movement) bits.push('moving at ' + d.movement.speed_mps.toFixed(1) + ' m/s');
  if (d.warmest_k) bits.push((d.warmest_k - 273.15).toFixed(1) + ' °C');
  if (d.position.method === 'flat') bits.push('on a plane, no terrain known');
  if (d.inputs.stale.length) bits.push('old telemetry: ' + d.inputs.stale.map(words).join(', '));
  if (d.inputs.assumed.length) bits.push('not told by the drone, assumed: ' + d.inputs.assumed.map(words).join(', '));
  if (d.state === 'end') bits.push(ENDED[d.end] || words(d.end));
  li.append(el('small', '', bits.join('; ')));
  return li;
}

function shape(tag, attrs, said) {
  const e = document.createElementNS(SVG, tag);
  for (const [k, v] of Object.entries(attrs)) e.setAttribute(k, v);
  if (said !== undefined) e.textContent = said;
  return e;
}
// A round number of metres of about this length, for the scale.
function round(m) { const p = 10 ** Math.floor(Math.log10(m)); return [5, 2, 1].find((n) => n * p <= m) * p; }

function drawMap() {
  const W = 900, H = 560, PAD = 34, svg = $('map');
  const rings = ground ? ground.data.map.features.flatMap((f) => f.geometry.coordinates.flat()) : [];
  const list = found(), spots = list.map((e) => [e.data.position.lon, e.data.position.lat]);
  const all = rings.flat().concat(spots);
  if (!all.length) { svg.replaceChildren(); return; }
  const lat0 = all.reduce((s, p) => s + p[1], 0) / all.length, east = 111320 * Math.cos(lat0 * Math.PI / 180), north = 111132;
  const metres = ([lon, lat]) => [lon * east, -lat * north];
  const m = all.map(metres), xs = m.map((p) => p[0]), ys = m.map((p) => p[1]);
  const min = (v) => v.reduce((a, b) => Math.min(a, b)), max = (v) => v.reduce((a, b) => Math.max(a, b));
  const [x0, x1, y0, y1] = [min(xs), max(xs), min(ys), max(ys)];
  const scale = Math.min((W - 2 * PAD) / Math.max(20, x1 - x0), (H - 2 * PAD) / Math.max(20, y1 - y0));
  const at = (p) => { const [x, y] = metres(p); return [W / 2 + (x - (x0 + x1) / 2) * scale, H / 2 + (y - (y0 + y1) / 2) * scale]; };
  const path = (ring) => 'M' + ring.map((p) => at(p).map((v) => v.toFixed(1)).join(' ')).join('L') + 'Z';
  const out = [];
  for (const f of ground ? ground.data.map.features : []) {
    out.push(shape('path', { class: 'pod ' + f.properties.class, d: f.geometry.coordinates.flat().map(path).join('') }));
  }
  for (const e of list.slice().reverse()) {
    const d = e.data, [x, y] = at([d.position.lon, d.position.lat]);
    const g = shape('g', { class: 'find ' + (d.is_target ? 'target' : 'other') + (gone(d) ? ' over' : '') });
    const el90 = d.position.ellipse90;
    g.append(shape('title', {}, what(d) + ' at ' + place(d.position)));
    g.append(shape('ellipse', { cx: x, cy: y, rx: Math.max(3, el90.major_m * scale), ry: Math.max(3, el90.minor_m * scale), transform: 'rotate(' + (el90.azimuth_deg - 90) + ' ' + x + ' ' + y + ')' }));
    g.append(shape('circle', { cx: x, cy: y, r: 3 }));
    g.append(shape('text', { x: x + 9, y: y - 8 }, e.number));
    out.push(g);
  }
  const bar = round(160 / scale);
  out.push(shape('path', { class: 'ruler', d: 'M' + PAD + ' ' + (H - 16) + 'v6h' + bar * scale + 'v-6' }));
  out.push(shape('text', { class: 'said', x: PAD + bar * scale + 8, y: H - 10 }, bar >= 1000 ? bar / 1000 + ' km' : bar + ' m'));
  out.push(shape('path', { class: 'ruler', d: 'M' + (W - 26) + ' 46V16l-6 10M' + (W - 26) + ' 16l6 10' }));
  out.push(shape('text', { class: 'said', x: W - 31, y: 62 }, 'N'));
  svg.replaceChildren(...out);
}

function coverageWords(c) {
  const share = c.searched_share == null ? '' : percent(c.searched_share) + ' of the area searched; ';
  return share + (c.seen_m2 / 1e4).toFixed(1) + ' ha looked at, mean probability of detection ' + percent(c.mean_pod);
}
function drawSearch(s) {
  const list = found(), any = list.length || ground || (s && s.search);
  $('search-card').hidden = !any;
  if (!any) return;
  fill($('finds'), () => list.slice(0, 40).map(findItem), list.map((e) => e.id));
  $('finds-empty').hidden = list.length > 0;
  text('ground', ground ? coverageWords(ground.data) : 'No ground was mapped yet.');
  fill($('pods'), () => (ground ? ground.data.map.features : []).map((f) => {
    const li = el('li');
    li.append(el('i', f.properties.class), (POD[f.properties.class] || words(f.properties.class)) + ': ' + (f.properties.area_m2 / 1e4).toFixed(1) + ' ha');
    return li;
  }), ground && ground.id);
  const key = JSON.stringify([list.map((e) => e.id), ground && ground.id]);
  if ($('map').dataset.key !== key) { $('map').dataset.key = key; drawMap(); }
}
// What the large panel says on a box that searches; null: nothing of its own.
function searchHero(s) {
  const fresh = found().filter((e) => e.data.is_target && e.data.state !== 'end' && boxNow() - e.since < FOUND_MS).sort((a, b) => b.since - a.since)[0];
  if (fresh) {
    const d = fresh.data;
    return ['look', true, 'nobody', 'Candidate ' + fresh.number + ', ' + clock(d.last_seen), what(d) + ' at ' + place(d.position),
      'Within ' + within(d.position.ce90_m) + ' m nine times in ten; ' + words(d.class) + ' ' + percent(d.likelihoods[d.class]) + '; seen from ' + d.views + (d.views === 1 ? ' side.' : ' sides.')];
  }
  if (!s.search) return null;
  const n = found().filter((e) => e.data.is_target && !gone(e.data)).length;
  const line = (n === 0 ? 'Nothing found yet. ' : n === 1 ? 'One candidate. ' : n + ' candidates. ') + (ground ? coverageWords(ground.data) + '.' : '');
  const v = s.search;
  if (v.state === 'blind') return ['stop', false, 'fault', '', 'Not searching', v.reason];
  const title = { idle: 'Waiting for pictures', waiting: 'Waiting for a mission' }[v.state] || 'Searching';
  return ['calm', false, 'ready', (v.mission && v.mission.name) || '', title, line];
}
// What was found before this page was there, or while it was away.
async function catchUp() {
  try {
    const r = await ask('/v1/search', { signal: AbortSignal.timeout(PATIENCE_MS) });
    if (r.ok) (await r.json()).events.forEach(learn);
  } catch (_) { /* Asked again when the link is back. */ }
}
