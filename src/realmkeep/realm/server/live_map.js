"use strict";
(() => {
  const canvas = document.getElementById("map");
  const told = document.getElementById("map-told");
  const pen = canvas.getContext("2d");
  const TRADE_MS = 2500;
  let zones = [];
  let frame = null;
  let shown = new Map(); // player to the place where it is drawn
  let lines = [];
  let lastTrade = null;

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const bounds = () => [0, 1].map((i) => Math.min(...zones.map((z) => z.box[i]))).concat([2, 3].map((i) => Math.max(...zones.map((z) => z.box[i]))));

  const heard = (event) => {
    frame = JSON.parse(event.data);
    const news = frame.trades.filter(([number]) => lastTrade !== null && number > lastTrade);
    lastTrade = frame.trades.reduce((most, [number]) => Math.max(most, number), lastTrade ?? 0);
    for (const [, one, other] of news) lines.push({ one, other, at: performance.now() });
    told.textContent = `${frame.present} players, ${frame.monsters.length} monsters, ${lastTrade} trades since the start.`;
    canvas.dataset.players = String(frame.players.length);
  };

  const draw = () => {
    requestAnimationFrame(draw);
    if (!zones.length || !frame) return;
    const [west, north, east, south] = bounds();
    const width = canvas.clientWidth, scale = width / (east - west), ratio = devicePixelRatio || 1;
    const height = Math.round(scale * (south - north));
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const at = (x, y) => [(x - west) * scale, (y - north) * scale];
    pen.font = "600 13px system-ui";
    for (const zone of zones) {
      const [x, y] = at(zone.box[0], zone.box[1]), [x2, y2] = at(zone.box[2], zone.box[3]);
      pen.fillStyle = color(zone.safe ? "--ok-soft" : "--ground");
      pen.fillRect(x + 1, y + 1, x2 - x - 2, y2 - y - 2);
      pen.strokeStyle = color("--line");
      pen.strokeRect(x + 1, y + 1, x2 - x - 2, y2 - y - 2);
      pen.fillStyle = color("--faint");
      pen.fillText(zone.name, x + 9, y + 20);
    }
    pen.fillStyle = color("--critical");
    for (const [x, y] of frame.monsters) {
      const [px, py] = at(x, y);
      pen.beginPath();
      pen.moveTo(px, py - 4); pen.lineTo(px + 4, py + 3); pen.lineTo(px - 4, py + 3);
      pen.fill();
    }
    const next = new Map();
    pen.fillStyle = color("--chart");
    for (const [id, x, y, health] of frame.players) {
      const [tx, ty] = at(x, y), [fx, fy] = shown.get(id) ?? [tx, ty];
      const place = [fx + (tx - fx) * 0.2, fy + (ty - fy) * 0.2];
      next.set(id, place);
      pen.globalAlpha = 0.35 + 0.65 * Math.max(0, Math.min(1, health));
      pen.beginPath();
      pen.arc(place[0], place[1], 4, 0, 2 * Math.PI);
      pen.fill();
    }
    shown = next;
    lines = lines.filter((line) => performance.now() - line.at < TRADE_MS);
    pen.strokeStyle = color("--warning");
    pen.lineWidth = 2;
    for (const line of lines) {
      const one = shown.get(line.one), other = shown.get(line.other);
      if (!one || !other) continue;
      pen.globalAlpha = 1 - (performance.now() - line.at) / TRADE_MS;
      pen.beginPath();
      pen.moveTo(...one); pen.lineTo(...other);
      pen.stroke();
      for (const [x, y] of [one, other]) { pen.beginPath(); pen.arc(x, y, 9, 0, 2 * Math.PI); pen.stroke(); }
    }
    pen.globalAlpha = 1;
    pen.lineWidth = 1;
  };

  fetch(canvas.dataset.world).then((answer) => answer.json()).then((world) => {
    zones = world.zones;
    const source = new EventSource(canvas.dataset.events);
    source.onmessage = heard;
    source.onerror = () => { told.textContent = "The realm does not answer; trying again."; };
    requestAnimationFrame(draw);
  });
})();
