// The live page: asks for what is known every second, and for pictures as fast as they come, while somebody can see them.
'use strict';

const STATUS_EVERY_MS = 1000;
const MACHINE_EVERY_MS = 10000;
const PICTURE_EVERY_MS = 500;
// Browsers open six connections to a server: some must be free for what else is asked.
const PICTURES_AT_ONCE = 4;
const HOUR_S = 3600;
// A chart shows no less than this, or the first readings would fill it.
const SHORTEST_S = 300;
// Readings further apart than this are not connected: nobody looked in between.
const GAP_S = 90;

const root = document.documentElement;
let lastStatus = null, lastMachine = null;
const by = id => document.getElementById(id);

// Language: the browser's, or what was chosen before.
function setLanguage(language) {
  root.dataset.lang = root.lang = language;
  if (lastStatus) showStatus(lastStatus);
  if (lastMachine) showMachine(lastMachine);
}

function firstLanguage() {
  let chosen = null;
  try { chosen = localStorage.getItem('lang'); } catch { /* Where nothing can be stored nothing was chosen. */ }
  const usual = (navigator.language || 'en').startsWith('zh') ? 'zh' : 'en';
  return chosen === 'zh' || chosen === 'en' ? chosen : usual;
}

const say = (en, zh) => root.dataset.lang === 'zh' ? zh : en;

// Elements: a tag, its attributes, what is in it.
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function drawn(tag, attributes, text) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// Numbers.
const fixed = (value, digits) => value === null || value === undefined ? '–' : value.toFixed(digits);
const megabytes = bytes => bytes === null || bytes === undefined ? '–' : `${Math.round(bytes / 1048576)} MB`;
const whole = value => value.toLocaleString(say('en', 'zh'));

function duration(seconds) {
  const minutes = Math.floor(seconds / 60), hours = Math.floor(minutes / 60), days = Math.floor(hours / 24);
  if (days > 0) return say(`${days} d ${hours % 24} h`, `${days} 天 ${hours % 24} 小时`);
  if (hours > 0) return say(`${hours} h ${minutes % 60} min`, `${hours} 小时 ${minutes % 60} 分`);
  if (minutes > 0) return say(`${minutes} min`, `${minutes} 分钟`);
  return say(`${Math.floor(seconds)} s`, `${Math.floor(seconds)} 秒`);
}

const STATES = {
  starting: ['starting', '启动中'],
  live: ['live', '正常'],
  down: ['down', '中断'],
  ended: ['ended', '已结束'],
};
const REASONS = {
  stale: ['no new frames', '没有新画面'],
  frozen: ['the picture is frozen', '画面静止'],
  green: ['frames were not decoded', '画面未能解码'],
  damaged: ['the stream is damaged', '码流损坏'],
  decoder: ['the decoder ended', '解码器已退出'],
};
const worded = (words, key) => words[key] ? say(...words[key]) : key;

const bundleText = bundle => bundle
  ? [`${say('bundle', '模型包')} ${bundle.digest.slice(7, 19)}${bundle.version === null ? '' : ` ${say('version', '版本')} ${bundle.version}`}`]
  : [];

// Head and cards.
function showStatus(status) {
  by('model').textContent = status.model.name;
  document.title = `${status.model.name} · yoloslim`;
  by('about').textContent = [
    `SHA-256 ${status.model.digest.slice(0, 12)}`,
    ...bundleText(status.model.bundle),
    `${say('family', '系列')} ${status.model.family}`,
    `yoloslim ${status.version}`,
    `${say('up', '已运行')} ${duration(status.uptime_s)}`,
    `${status.sessions} ${status.sessions === 1 ? say('session', '个会话') : say('sessions', '个会话')}`,
  ].join(' · ');
  const live = status.sources.filter(source => source.state === 'live').length;
  const all = status.sources.length;
  const rate = status.sources.reduce((sum, source) => sum + source.process_fps, 0);
  const machine = status.machine || {};
  const cards = [
    [`${live} / ${all}`, say('sources live', '视频源正常'), live < all],
    [fixed(rate, 1), say('detections per second', '次检测 / 秒'), false],
    [megabytes(machine.rss_bytes), say('memory of the server', '服务器内存'), false],
    [machine.temperature_c == null ? '–' : `${fixed(machine.temperature_c, 0)} °C`,
      machine.temperature_c == null ? say('no temperature sensor', '无温度传感器') : say('CPU temperature', 'CPU 温度'), false],
  ];
  if (machine.pause_ms > 0) {
    cards.push([`${Math.round(machine.pause_ms)} ms`, say('pause between frames, for heat', '因温度而设的帧间停顿'), true]);
  }
  by('cards').replaceChildren(...cards.map(([figure, words, bad]) =>
    element('div', { class: bad ? 'card bad' : 'card' }, element('b', {}, figure), element('span', {}, words))));
  by('none').hidden = all > 0;
  showSources(status.sources);
}

// Sources: one card each, made once and changed from then on.
const shown = new Map();

function showSources(sources) {
  for (const [name, card] of shown) {
    if (!sources.some(source => source.name === name)) { card.box.remove(); shown.delete(name); }
  }
  for (const source of sources) {
    if (!shown.has(source.name)) {
      const card = new Card(source.name);
      shown.set(source.name, card);
      by('sources').append(card.box);
    }
    shown.get(source.name).show(source);
  }
  askForPictures();
}

class Card {
  constructor(name) {
    this.name = name;
    this.state = 'starting';
    this.asking = false;
    this.due = 0;
    this.image = element('img', { alt: '' });
    this.image.hidden = true;
    this.words = element('p');
    this.screen = element('div', { class: 'screen' }, this.words, this.image);
    this.badge = element('span', { class: 'state' });
    this.seen = element('p', { class: 'seen' });
    this.figures = element('dl');
    this.place = element('p', { class: 'place' });
    const title = element('div', { class: 'title' }, element('h3', {}, name), this.badge);
    const text = element('div', { class: 'text' }, title, this.seen, this.figures, this.place);
    this.box = element('article', { class: 'source', 'aria-label': name }, this.screen, text);
  }

  show(source) {
    this.state = source.state;
    this.badge.className = `state ${source.state}`;
    this.badge.textContent = worded(STATES, source.state);
    const objects = Object.entries(source.objects).map(([label, count]) => `${label} ${count}`).join(say(', ', '、'));
    this.seen.textContent = objects || (source.state === 'live' ? say('no objects', '无目标') : '');
    if (source.state !== 'live') this.hidePicture();
    this.words.replaceChildren(...this.message(source));
    this.image.alt = say(`Picture of ${this.name}: ${objects || 'no objects'}`, `${this.name} 的画面：${objects || '无目标'}`);
    const timing = source.timing;
    const facts = [
      [say('camera fps', '输入帧率'), fixed(source.camera_fps, 1)],
      [say('process fps', '检测帧率'), fixed(source.process_fps, 1)],
      [say('dropped', '丢帧'), whole(source.dropped)],
      [say('latency p50', '延迟 p50'), timing ? `${fixed(timing.p50_ms, 0)} ms` : '–'],
      [say('latency p99', '延迟 p99'), timing ? `${fixed(timing.p99_ms, 0)} ms` : '–'],
      [say('restarts', '重启'), whole(source.restarts)],
    ];
    this.figures.replaceChildren(...facts.map(([name, value]) =>
      element('div', {}, element('dt', {}, name), element('dd', {}, value))));
    const size = source.size_px ? ` · ${source.size_px[0]}×${source.size_px[1]}` : '';
    this.place.textContent = source.location + size;
  }

  message(source) {
    if (source.state === 'down') return [element('b', {}, worded(REASONS, source.reason)), source.detail];
    if (source.state === 'live') return [say('waiting for a picture', '等待画面')];
    return [worded(STATES, source.state)];
  }

  hidePicture() {
    this.image.hidden = true;
    this.image.removeAttribute('src');
  }

  async ask() {
    this.asking = true;
    try {
      const answer = await fetch(`v1/sources/${encodeURIComponent(this.name)}/latest.jpg`);
      if (!answer.ok) throw new Error(answer.statusText);
      const url = URL.createObjectURL(await answer.blob());
      const before = this.url;
      this.url = url;
      this.image.src = url;
      await this.image.decode().catch(() => {});
      if (before) URL.revokeObjectURL(before);
      if (this.state === 'live') this.image.hidden = false;
      this.due = Date.now() + PICTURE_EVERY_MS;
    } catch {
      this.hidePicture();
      this.due = Date.now() + 4 * PICTURE_EVERY_MS;
    }
    this.asking = false;
    askForPictures();
  }
}

// Those that wait longest first, a few at once, and none that nobody sees.
function askForPictures() {
  if (document.hidden) return;
  const cards = [...shown.values()];
  const free = PICTURES_AT_ONCE - cards.filter(card => card.asking).length;
  const now = Date.now();
  const waiting = cards.filter(card => card.state === 'live' && !card.asking && card.due <= now);
  waiting.sort((a, b) => a.due - b.due).slice(0, Math.max(free, 0)).forEach(card => card.ask());
}
setInterval(askForPictures, PICTURE_EVERY_MS / 2);

// The machine's last hour.
function showMachine(readings) {
  const charts = [
    { name: ['CPU temperature', 'CPU 温度'], unit: '°C', digits: 0, value: r => r.temperature_c, fromZero: false },
    { name: ['CPU clock', 'CPU 频率'], unit: 'GHz', digits: 2, value: r => r.clock_mhz === null ? null : r.clock_mhz / 1000, fromZero: true },
    { name: ['Memory of server and decoders', '服务器与解码器内存'], unit: 'MB', digits: 0, fromZero: true,
      value: r => r.rss_bytes === null ? null : (r.rss_bytes + r.decoders_rss_bytes) / 1048576 },
  ];
  by('charts').replaceChildren(...charts.map(chart => figure(chart, readings)));
}

const WIDTH = 300, HEIGHT = 92, TOP = 14;

function figure(chart, readings) {
  const points = readings.map(r => ({ time: r.time, value: chart.value(r) })).filter(point => point.value !== null);
  const name = say(...chart.name);
  const last = points.at(-1);
  const caption = element('figcaption', {}, name, element('b', {}, last ? `${fixed(last.value, chart.digits)} ${chart.unit}` : '–'));
  if (!last) return element('figure', {}, caption, element('p', {}, say('This machine does not tell it.', '此设备不提供该读数。')));
  const values = points.map(point => point.value);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  // Room around the curve, so that noise does not fill the chart.
  const margin = Math.max((most - least) * 0.15, most * 0.02, 1e-9);
  const [low, high] = [chart.fromZero ? 0 : least - Math.max(margin, 2), most + (chart.fromZero ? most * 0.1 : Math.max(margin, 2))];
  const now = Date.now() / 1000;
  // The last reading ends the curve even where the clocks of server and browser differ.
  const end = Math.abs(now - last.time) < HOUR_S ? Math.max(now, last.time) : last.time;
  // After a start the hour begins with the first reading.
  const span = Math.min(Math.max(end - points[0].time, SHORTEST_S), HOUR_S);
  const minutes = Math.round(span / 60);
  const x = time => WIDTH * (1 - (end - time) / span);
  const y = value => HEIGHT - (HEIGHT - TOP) * (value - low) / (high - low);
  const ends = [...new Set([fixed(least, chart.digits), fixed(most, chart.digits)])];
  const range = `${ends.join('–')} ${chart.unit}`;
  const svg = drawn('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT + 16}`, role: 'img',
    'aria-label': say(`${name}: ${fixed(last.value, chart.digits)} ${chart.unit} now, ${range} in the last hour`,
      `${name}：当前 ${fixed(last.value, chart.digits)} ${chart.unit}，近一小时 ${range}`) });
  for (const part of unbroken(points)) {
    const line = part.map(point => `${x(point.time).toFixed(1)} ${y(point.value).toFixed(1)}`).join('L');
    const [from, to] = [x(part[0].time).toFixed(1), x(part.at(-1).time).toFixed(1)];
    svg.append(drawn('path', { class: 'area', d: `M${from} ${HEIGHT}L${line}L${to} ${HEIGHT}Z` }));
    svg.append(drawn('path', { class: 'curve', d: `M${line}` }));
  }
  svg.append(drawn('line', { class: 'axis', x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT }));
  svg.append(drawn('text', { class: 'label', x: 0, y: 9 }, range));
  svg.append(drawn('text', { class: 'label', x: 0, y: HEIGHT + 13 }, say(`${minutes} min ago`, `${minutes} 分钟前`)));
  svg.append(drawn('text', { class: 'label end', x: WIDTH, y: HEIGHT + 13 }, say('now', '现在')));
  return element('figure', {}, caption, svg);
}

// Points cut where readings are missing.
function unbroken(points) {
  const parts = [];
  for (const point of points) {
    const part = parts.at(-1);
    if (part && point.time - part.at(-1).time < GAP_S) part.push(point); else parts.push([point]);
  }
  return parts;
}

// Asking, while the page can be seen.
function every(interval_ms, ask) {
  let timer = null, asking = false;
  const round = async () => {
    if (asking || document.hidden) return;
    asking = true;
    clearTimeout(timer);
    await ask();
    asking = false;
    timer = setTimeout(round, interval_ms);
  };
  document.addEventListener('visibilitychange', round);
  round();
}

async function json(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(answer.statusText);
  return answer.json();
}

by('lang').addEventListener('click', () => {
  const language = root.dataset.lang === 'zh' ? 'en' : 'zh';
  setLanguage(language);
  try { localStorage.setItem('lang', language); } catch { /* It is chosen anew next time. */ }
});
setLanguage(firstLanguage());

every(STATUS_EVERY_MS, async () => {
  try {
    lastStatus = await json('v1/status');
    by('offline').hidden = true;
    showStatus(lastStatus);
  } catch {
    by('offline').hidden = false;
  }
});

every(MACHINE_EVERY_MS, async () => {
  try {
    lastMachine = (await json('v1/machine?step=5')).readings;
    showMachine(lastMachine);
  } catch { /* That the server does not answer is told by the other. */ }
});
