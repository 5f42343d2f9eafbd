'use strict';
// Everything that comes from the box is put in as text, never as markup.
const $ = (id) => document.getElementById(id);
const SVG = 'http://www.w3.org/2000/svg';
// How long an answer without an end of its own stays on the large panel.
const SHOWN_MS = 30000;
// No answer to a status request for this long: the box is not there.
const PATIENCE_MS = 2500;

const OUTCOMES = {
  match: ['ok', 'pass', 'Match', 'The guest and the document’s portrait are the same person.'],
  no_match: ['stop', 'fail', 'No match', 'The guest does not look like the document’s portrait. Check the document by hand.'],
  no_face: ['look', 'nobody', 'Nobody seen', 'No face was in front of the camera. Ask the guest to stand before it, then try again.'],
  multiple_faces: ['look', 'people', 'Several people', 'Two people stand equally close. Ask one to step back, then try again.'],
  poor_quality: ['look', 'blur', 'Not clear enough', 'The faces could not be compared. The checks below say why.'],
  presentation_attack_suspected: ['stop', 'shield', 'Not a live face?', 'The movement was not that of a head. Check the document by hand.'],
  timeout: ['look', 'clock', 'No answer in time', 'The time was up before the faces could be compared. Try again.'],
  error: ['look', 'fault', 'Could not compare', 'Something other than the guest was in the way. Check the document by hand.'],
  granted: ['ok', 'door', 'Door open', 'The credential and the person belong together.'],
  denied: ['stop', 'door', 'Door stays closed', 'The door was not opened. The checks below say why.'],
  document_only: ['note', 'document', 'Document only', 'The guest declined the camera. No face was looked at.'],
  document_rejected: ['stop', 'document', 'Document rejected', 'The document failed its checks, whatever the faces say. Check it by hand.'],
};
const UNKNOWN = ['calm', 'fault', 'Unknown answer', 'This page does not know this answer.'];
const CHECKS = {
  document: 'Document', reference_portrait: 'Portrait', camera: 'Camera', live_face: 'One person in view',
  face_quality: 'Face clear enough', presentation_attack: 'Live person', face_comparison: 'Same person',
  credential: 'Credential', lease: 'Valid now', weekly_hours: 'Permitted hours', lockout: 'Not locked out',
  one_place: 'At one door only', pass_back: 'On this side', reference_template: 'Enrolled face',
  staff_confirmation: 'Staff', tailgating: 'Nobody followed',
};
const STATUS = { pass: 'passed', fail: 'failed', not_checked: 'not checked' };
const REASONS = {
  not_configured: 'not installed on this box', not_requested: 'not asked for', declined_by_guest: 'the guest declined',
  earlier_check_failed: 'an earlier check failed', deadline_reached: 'the time was up',
  portrait_unreadable: 'the file cannot be read', portrait_no_face: 'no face in the portrait',
  portrait_several_faces: 'several faces in the portrait', portrait_too_small: 'the portrait is too small',
  portrait_poor: 'the portrait is blurred, dark or turned', camera_unavailable: 'no pictures from the camera',
  no_face_seen: 'nobody in view', several_people: 'several people in view', too_small: 'too far away', blurred: 'blurred',
  too_dark: 'too dark', too_bright: 'too bright', turned_away: 'turned away', cut_off: 'at the picture’s edge',
  below_threshold: 'not similar enough', moved_as_flat: 'moved as a flat picture does',
  challenge_not_performed: 'the head was not turned', face_changed: 'another person stepped in',
  camera_busy: 'the camera serves another guest', storage_unavailable: 'the box cannot record now',
  internal_fault: 'a fault inside the box', document_not_authentic: 'not what the issuer signed',
  document_expired: 'not valid today', document_inconsistent: 'its data contradict each other',
  document_incomplete: 'something of it is missing', document_unproven: 'nothing proves it genuine',
  unknown_credential: 'nobody here holds it', reader_said_no: 'the reader said no',
  nothing_presented: 'nobody presented anything', lease_not_begun: 'not valid yet', lease_expired: 'no longer valid',
  lease_revoked: 'taken back', outside_hours: 'not at this hour', locked_out: 'too many failures before',
  at_another_door: 'at another door just now', passed_back: 'went in and has not come out',
  whereabouts_unknown: 'not known where the person is', no_template: 'no face enrolled',
  gallery_unavailable: 'the gallery cannot be read', refused_by_staff: 'staff said no', staff_absent: 'no staff in time',
  followed_closely: 'somebody came close behind',
};
const BANDS = { far_below: [1, 'far below the limit'], below: [2, 'below the limit'], near: [3, 'close to the limit'], above: [4, 'above the limit'], far_above: [5, 'far above the limit'] };

const known = new Map();          // event id -> envelope
// What a guest is asked to do, while a session waits for it.
const PROMPT_MS = 15000;
const PROMPTS = {
  look_ahead: ['Look into the camera', 'Ask the guest to look straight into the camera and hold still.'],
  turn_left: ['Turn the head to the left', 'Ask the guest to turn the head slowly to their own left.'],
  turn_right: ['Turn the head to the right', 'Ask the guest to turn the head slowly to their own right.'],
  done: ['Thank you', 'The movement was seen. The answer follows.'],
};
let prompt = null;
let lastEvent = null;
let status = null, lastHeard = 0, skew = 0, link = 'wait', shownId = null;

function el(tag, cls, text) {
  const e = document.createElement(tag);
  if (cls) e.className = cls;
  if (text !== undefined) e.textContent = text;
  return e;
}
function icon(name) {
  const s = document.createElementNS(SVG, 'svg'), u = document.createElementNS(SVG, 'use');
  s.setAttribute('aria-hidden', 'true');
  u.setAttribute('href', '#i-' + name);
  s.append(u);
  return s;
}
// Leaves the page alone when nothing changed: screen readers and selections stay where they are.
function fill(node, items, key) {
  const now = JSON.stringify(key);
  if (node.dataset.key === now) return;
  node.dataset.key = now;
  node.replaceChildren(...items());
}
function text(id, value) { if ($(id).textContent !== value) $(id).textContent = value; }
function attr(node, name, value) {
  if (value === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

function span(s) {
  s = Math.max(0, Math.round(s));
  if (s < 60) return s + ' s';
  if (s < 3600) return Math.floor(s / 60) + ' min';
  if (s < 172800) return Math.floor(s / 3600) + ' h ' + Math.floor(s % 3600 / 60) + ' min';
  return Math.floor(s / 86400) + ' days';
}
function clock(t) { return new Date(t).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' }); }
function millis(ms) { return ms < 1000 ? ms + ' ms' : (ms / 1000).toFixed(1) + ' s'; }
function boxNow() { return Date.now() + skew; }
function looks(e) { return OUTCOMES[e.data.outcome] || UNKNOWN; }
function words(w) { return String(w || '').replaceAll('_', ' '); }

function band(b) {
  const [n, said] = BANDS[b] || [0, words(b)];
  const out = el('dd'), bar = el('span', 'band');
  for (let i = 1; i <= 5; i++) bar.append(el('i', i <= n ? 'on' : ''));
  bar.setAttribute('aria-hidden', 'true');
  out.append(bar, said);
  return out;
}
function checkItem(c) {
  const li = el('li', 's-' + (STATUS[c.status] ? c.status : 'not_checked'));
  li.append(icon({ pass: 'pass', fail: 'fail' }[c.status] || 'skip'));
  const d = el('div');
  d.append(el('b', '', CHECKS[c.name] || words(c.name)));
  const why = c.reason ? ': ' + (REASONS[c.reason] || words(c.reason)) : '';
  d.append(el('span', '', (STATUS[c.status] || words(c.status)) + why));
  li.append(d);
  return li;
}

function newestFirst() { return [...known.values()].sort((a, b) => b.at - a.at || b.seq - a.seq); }
// Only a match and an open door are bound to their end; every other answer stays long enough to be read.
function endOf(e) { return (e.data.outcome === 'match' || e.data.outcome === 'granted') && e.notafter ? Date.parse(e.notafter) : e.at + SHOWN_MS; }
function current(list) {
  const e = list[0];
  return e && boxNow() < endOf(e) ? e : null;
}

function hero(tone, full, iconName, over, title, line) {
  const h = $('hero');
  attr(h, 'data-tone', tone);
  attr(h, 'data-full', full ? '' : null);
  attr($('hero-icon'), 'href', '#i-' + iconName);
  text('hero-over', over); text('hero-title', title); text('hero-line', line);
}
function heroDetails(e) {
  const left = $('hero-left');
  left.hidden = !e;
  if (e) left.value = Math.max(0, (endOf(e) - boxNow()) / Math.max(1, endOf(e) - e.at));
  fill($('hero-facts'), () => {
    if (!e) return [];
    const d = e.data, out = [];
    const fact = (name, dd) => { const w = el('div'); w.append(el('dt', '', name), dd); out.push(w); };
    if (d.comparison) fact('Likeness', band(d.comparison.band));
    fact('Answered in', el('dd', '', millis(d.timing.elapsed_ms)));
    if (d.door) fact('Door', el('dd', '', d.door + (d.direction === 'out' ? ', way out' : ', way in')));
    if (d.reason) fact('Why', el('dd', '', REASONS[d.reason] || words(d.reason)));
    if (d.equipment && d.equipment.length) {
      fact(d.direction === 'out' ? 'Taken out' : 'Brought back', el('dd', '', d.equipment.map((q) => q.equipment).join(', ')));
    }
    if (d.capture) fact('Camera', el('dd', '', d.capture.camera));
    if (d.correlation) fact('Request', el('dd', '', d.correlation));
    return out;
  }, e && e.id);
  fill($('hero-checks'), () => (e ? e.data.checks.map(checkItem) : []), e && e.id);
}

function part(tone, name, state, detail) {
  const li = el('li');
  li.append(el('span', 'dot ' + tone), el('b', '', name), el('span', 'state t-' + tone, state));
  if (detail) li.append(el('small', '', detail));
  return li;
}
function cameraItem(c) {
  const live = c.state === 'live';
  const age = c.frame_age_ms == null ? 'no picture yet' : 'last picture ' + millis(c.frame_age_ms) + ' ago';
  const detail = live
    ? age + ', ' + c.fps.toFixed(0) + ' a second'
    : (c.reason ? c.reason + '; ' : '') + age + ', since ' + clock(c.since);
  return part(live ? 'ok' : 'stop', c.name, { live: 'Live', stalled: 'Stalled', lost: 'Lost' }[c.state] || words(c.state), detail);
}
// People who declined the camera wait here for a member of staff.
function doorItem(d) {
  const ready = d.state === 'ready';
  const detail = ready ? d.granted + ' let through, ' + d.denied + ' not' : d.reason + ', since ' + clock(d.since);
  const troubles = d.troubles.length ? '; ' + d.troubles.join('; ') : '';
  const li = part(ready ? (d.troubles.length ? 'look' : 'ok') : 'stop', d.name, ready ? 'Ready' : 'Cannot decide', detail + troubles);
  for (const w of d.waiting) {
    const row = el('p', 'wait', 'Somebody who declined the camera waits until ' + clock(w.until) + '. ');
    for (const [label, admit] of [['Admit', true], ['Refuse', false]]) {
      const b = el('button', '', label);
      b.addEventListener('click', () => {
        const body = JSON.stringify({ session: w.session, admit, staff: 'status-page' });
        ask('/v1/confirm', { method: 'POST', headers: { 'content-type': 'application/json' }, body });
        row.replaceChildren(admit ? 'Admitted.' : 'Refused.');
      });
      row.append(b, ' ');
    }
    li.append(row);
  }
  return li;
}
function boxItems(s) {
  const b = s.bus, o = s.outbox, out = [];
  out.push(part(b.connected ? 'ok' : 'look', 'Link to the hub', b.connected ? 'Connected' : 'Away',
    s.broker + (b.connected ? '' : (b.reason ? ': ' + b.reason : '') + ', since ' + clock(b.since))));
  const oldest = o.oldest_age_s == null ? '' : 'oldest ' + span(o.oldest_age_s) + ', ';
  out.push(part(o.not_ready ? 'stop' : o.depth ? 'look' : 'ok', 'Events waiting', String(o.depth),
    o.not_ready || oldest + o.recorded + ' recorded, ' + o.acknowledged + ' delivered'));
  const q = { synced: ['ok', 'Synchronised'], holdover: ['look', 'Running free'], unsynced: ['look', 'Never synchronised'] }[s.timequality] || ['calm', s.timequality];
  out.push(part(q[0], 'Clock', q[1], clock(s.time)));
  out.push(part('calm', 'Running', span(s.uptime_s), 'version ' + s.version));
  return out;
}
function watchItem(c) {
  const state = c.watching ? 'Looking' : c.reason ? 'Cannot look' : 'Nobody is missing';
  const detail = c.reason || 'since the start: people who passed ' + c.passages + ', sightings ' + c.sightings;
  return part(c.watching ? 'look' : c.reason ? 'stop' : 'calm', c.camera, state, detail);
}
function drawWatch(w) {
  $('watch-card').hidden = !w;
  if (!w) return;
  text('watch-who', 'In charge: ' + w.authority + '. ' + w.missing + ' missing; ' + w.passages_24h + ' people passed in 24 hours, ' + w.passages_expected + ' expected.');
  fill($('watch'), () => w.cameras.map(watchItem), w.cameras);
}
// Candidates come from a route of their own, never with the status or the events.
let waiting = [];
async function decide(session, word, person) {
  const body = { clerk: $('clerk-name').value.trim() || undefined };
  if (person) body.person_ref = person;
  try {
    const r = await ask('/v1/identify/' + session + '/' + word, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
    const got = await r.json();
    text('clerk-says', r.ok ? 'Recorded.' : 'Not done: ' + got.error.message + (got.error.remedy ? '; ' + got.error.remedy : '') + '.');
  } catch (_) { text('clerk-says', 'Not done: the box does not answer.'); }
  clerk();
}
function clerkItem(w) {
  const li = el('li');
  li.append(el('b', '', 'Camera ' + w.camera + (w.outcome === 'ambiguous' ? ': several are equally like' : '')));
  li.append(el('small', '', 'Ask the guest before you decide; until ' + clock(w.decide_by) + '.'));
  const row = el('div', 'row');
  const button = (cls, said, act) => { const b = el('button', cls, said); b.type = 'button'; b.addEventListener('click', act); row.append(b); };
  for (const c of w.candidates) button('', 'It is ' + c.person_ref + ' (' + words(c.purpose) + ', ' + BANDS[c.band][1] + ')', () => decide(w.session, 'confirm', c.person_ref));
  button('no', 'None of them', () => decide(w.session, 'reject'));
  li.append(row);
  return li;
}
async function clerk() {
  const n = status && status.snapshot.identify_waiting;
  if (!n && !waiting.length) return;
  try {
    const r = await ask('/v1/identify', { signal: AbortSignal.timeout(PATIENCE_MS) });
    if (r.ok) waiting = (await r.json()).waiting;
  } catch (_) { waiting = []; }
  $('clerk-card').hidden = !waiting.length;
  fill($('clerk'), () => waiting.map(clerkItem), waiting.map((w) => w.session));
}
function logItem(e) {
  const [tone, ic, title] = looks(e), d = e.data, li = el('li');
  const badge = el('span', 'badge b-' + tone);
  badge.append(icon(ic));
  const t = el('time', '', clock(e.time));
  t.dateTime = e.time;
  const bits = [];
  const failed = d.checks.filter((c) => c.status === 'fail');
  for (const c of failed) bits.push((CHECKS[c.name] || words(c.name)) + ': ' + (REASONS[c.reason] || words(c.reason)));
  if (!failed.length && d.comparison) bits.push('likeness ' + (BANDS[d.comparison.band] || [0, words(d.comparison.band)])[1]);
  if (d.door) bits.push('door ' + d.door);
  bits.push('answered in ' + millis(d.timing.elapsed_ms));
  const skipped = d.checks.filter((c) => c.status === 'not_checked').length;
  if (skipped) bits.push(skipped + (skipped === 1 ? ' check' : ' checks') + ' not made');
  if (d.correlation) bits.push('request ' + d.correlation);
  li.append(badge, el('b', '', title), t, el('small', '', bits.join(', ')));
  return li;
}

function draw() {
  const lost = link === 'lost', s = status && status.snapshot;
  attr(document.body, 'data-link', link);
  const pill = (tone, ic, said) => { attr($('pill'), 'data-tone', tone); attr($('pill-icon'), 'href', '#i-' + ic); text('pill-text', said); };
  if (s) {
    text('site', s.site); text('box', s.box);
    document.title = s.box + ' · Vigil';
    text('about', 'Vigil ' + s.version);
    fill($('cameras'), () => s.cameras.length ? s.cameras.map(cameraItem) : [part('calm', 'No camera', '', 'none is configured')], [s.cameras, link]);
    const doors = s.doors || [];
    $('doors-card').hidden = !doors.length;
    fill($('doors'), () => doors.map(doorItem), [doors, link]);
    fill($('parts'), () => boxItems(s), [s.bus, s.outbox, s.timequality, s.time, link]);
    $('faults-card').hidden = !status.faults.length || lost;
    fill($('faults'), () => status.faults.map((f) => {
      const li = el('li');
      li.append(el('span', 'dot ' + (f.stops_decisions ? 'stop' : 'look')), el('b', '', f.part.charAt(0).toUpperCase() + f.part.slice(1)), el('small', '', f.message));
      return li;
    }), status.faults);
  }
  const list = newestFirst(), now = current(list);
  fill($('log'), () => list.filter((e) => e !== now).slice(0, 8).map(logItem), [list.map((e) => e.id), now && now.id]);
  $('log-empty').hidden = list.length > 0;
  $('log-empty').parentElement.hidden = list.length === 1 && !!now;
  drawSearch(s);
  const stops = s ? status.faults.find((f) => f.stops_decisions) : null;
  if (link === 'login') {
    pill('calm', 'shield', 'Not logged in');
    hero('calm', false, 'shield', '', 'Log in', 'This box shows its results to whoever has a token of role desk.');
    heroDetails(null);
  } else if (lost) {
    pill('stop', 'unplugged', 'Not connected');
    hero('stop', true, 'unplugged', lastHeard ? 'Last heard at ' + clock(lastHeard) : '', 'Not connected',
      'The box does not answer. Check documents by hand until it is back; this page connects again by itself.');
    heroDetails(null);
  } else if (!s) {
    pill('calm', 'clock', 'Connecting');
  } else {
    if (stops) pill('stop', 'fault', 'Out of order');
    else if (status.faults.length) pill('look', 'fault', 'Working, needs attention');
    else pill('ok', 'pass', 'All in order');
    const asked = prompt && Date.now() < prompt.until && PROMPTS[prompt.instruction];
    if (asked) {
      hero('calm', true, 'nobody', 'Camera ' + prompt.camera, ...asked);
      heroDetails(null);
    } else if (now) {
      const [tone, ic, title, line] = looks(now);
      hero(tone, true, ic, clock(now.time), title, line);
      heroDetails(now);
    } else if (stops) {
      hero('stop', false, 'fault', s.search ? 'Nothing is being looked for' : 'Check documents by hand', 'Out of order', stops.part.charAt(0).toUpperCase() + stops.part.slice(1) + ': ' + stops.message);
      heroDetails(null);
    } else if (searchHero(s)) {
      hero(...searchHero(s));
      heroDetails(null);
    } else {
      hero('calm', false, 'ready', '', 'Ready for the next guest', list.length ? 'The last answer is over. It is in the list below.' : 'Nothing was decided since the box started.');
      heroDetails(null);
    }
  }
}

function learn(e) {
  if (learnSearch(e)) return;
  if (!e || !['vigil.v1.verify.result', 'vigil.v1.gate.decision'].includes(e.type) || known.has(e.id)) return;
  e.at = Date.parse(e.time);
  known.set(e.id, e);
  if (known.size > 64) known.delete(newestFirst().pop().id);
}

// The token lives in this tab alone, for this origin alone, and goes out in a header: no address, log or
// cookie ever holds it.
const TOKEN = 'vigil-token';
function ask(path, options) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = { ...(options && options.headers) };
  if (token) headers.Authorization = 'Bearer ' + token;
  if (path === '/v1/events' && lastEvent) headers['Last-Event-ID'] = lastEvent;
  return fetch(path, { cache: 'no-store', ...options, headers });
}
const LOGIN = {
  no_token: '', unknown_token: 'The box does not know this token.', token_expired: 'The token’s time is over.',
  role_too_low: 'This token may not see results: it takes one of role desk.',
};
// Nobody asks again until somebody has logged in: a page that is left open is not an attack.
function loginNeeded(reason) {
  sessionStorage.removeItem(TOKEN);
  link = 'login';
  $('login').hidden = false;
  text('login-says', LOGIN[reason] || '');
  draw();
}
async function refusal(r) {
  try { return (await r.json()).error.reason; } catch (_) { return null; }
}

async function poll() {
  try {
    const r = await ask('/v1/status', { signal: AbortSignal.timeout(PATIENCE_MS) });
    if (r.status === 401 || r.status === 403) {
      const reason = await refusal(r);
      if (reason in LOGIN) return loginNeeded(reason);
    }
    // Too many requests of this address: the box is there.
    if (r.status === 429) { setTimeout(poll, 5000); return; }
    if (!r.ok) throw new Error(String(r.status));
    const got = await r.json();
    // Another run of the daemon starts a new list.
    if (status && status.snapshot.bootid !== got.snapshot.bootid) { known.clear(); finds.clear(); ground = null; numbers = 0; }
    status = got;
    skew = Date.parse(got.snapshot.time) - Date.now();
    lastHeard = Date.now();
    if (link !== 'up') catchUp();
    link = 'up';
    got.results.forEach(learn);
    drawWatch(got.snapshot.watch);
    clerk();
  } catch (_) {
    link = 'lost';
  }
  draw();
  setTimeout(poll, 1000);
}

function heard(name, data) {
  if (name === 'verify.result' || name === 'gate.decision') { prompt = null; learn(JSON.parse(data)); }
  else if (name.startsWith('search.')) learn(JSON.parse(data));
  else if (name === 'prompt') prompt = { ...JSON.parse(data), until: Date.now() + PROMPT_MS };
  else return;
  draw();
}

// The stream of events, read by hand: a browser's own reader of such streams sends no token.
async function listen() {
  try {
    const r = await ask('/v1/events');
    if (r.status === 401 || r.status === 403) return;
    if (!r.ok) throw new Error(String(r.status));
    const reader = r.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ''; ;) {
      const { done, value } = await reader.read();
      if (done) break;
      rest += value;
      for (let end; (end = rest.indexOf('\n\n')) >= 0; rest = rest.slice(end + 2)) {
        let name = 'message', data = [];
        for (const line of rest.slice(0, end).split('\n')) {
          const [, field, said] = /^([^:]*):? ?(.*)$/.exec(line);
          if (field === 'event') name = said;
          else if (field === 'data') data.push(said);
          else if (field === 'id') lastEvent = said;
        }
        heard(name, data.join('\n'));
      }
    }
  } catch (_) { /* The box is away: it is asked again. */ }
  setTimeout(listen, 2000);
}

$('login-form').addEventListener('submit', (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, $('login-token').value.trim());
  $('login-form').reset();
  $('login').hidden = true;
  link = 'wait';
  poll();
  listen();
});

$('try').addEventListener('submit', async (event) => {
  event.preventDefault();
  const file = $('try-file').files[0], declined = $('try-declined').checked;
  if (!file && !declined) { text('try-says', 'Choose the portrait’s file first.'); return; }
  const form = new FormData();
  form.append('request', JSON.stringify(declined ? { mode: 'document_only' } : {}));
  if (file && !declined) form.append('portrait', file);
  $('try-send').disabled = true;
  text('try-says', 'Looking…');
  try {
    const r = await ask('/v1/verify', { method: 'POST', body: form });
    const got = await r.json();
    if (!r.ok) text('try-says', 'Not done: ' + got.error.message + (got.error.remedy ? '; ' + got.error.remedy : '') + '.');
    else {
      const [, , title, line] = OUTCOMES[got.result.outcome] || UNKNOWN;
      text('try-says', title + '. ' + line + (got.recorded ? '' : ' The box could not record this answer: it counts for nothing.'));
      $('try').reset();
    }
  } catch (_) {
    text('try-says', 'Not done: the box does not answer.');
  }
  $('try-send').disabled = false;
});
