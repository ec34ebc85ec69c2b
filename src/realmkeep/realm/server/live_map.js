"use strict";
// The live map: zones, players, monsters, and trades as they become durable. The server sends a frame four times a second.
(() => {
  const canvas = document.getElementById("map");
  const told = document.getElementById("map-told");
  const feed = document.getElementById("map-trades");
  const counts = document.getElementById("map-zones");
  const pen = canvas.getContext("2d");
  const TRADE_MS = 3500, TRAIL_MS = 150, TRAIL_POINTS = 12, FED_MAX = 8, NEAR_PX = 14, ASIDE_PX = 256;
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const players = new Map(); // id to its place on the map, its health, and its trail
  let zones = [], frame = null, trades = [], lastTrade = null, colors = {}, pointer = null, drawnAt = 0;

  const playerPage = (id) => canvas.dataset.player.replace("ID", encodeURIComponent(id));
  const readColors = () => {
    const style = getComputedStyle(canvas);
    for (const name of ["safe", "wild-a", "wild-b", "wild-c", "edge", "grid", "label", "player", "rim", "monster", "gold", "high", "middle", "low", "mark"])
      colors[name] = style.getPropertyValue(`--map-${name}`).trim();
  };

  const addTrade = (one, other) => {
    trades.push({ one, other, at: performance.now() });
    const line = document.createElement("li");
    const link = (id) => {
      const made = document.createElement("a");
      made.href = playerPage(id);
      made.textContent = String(id);
      return made;
    };
    line.append(link(one), " ⇄ ", link(other));
    feed.prepend(line);
    feed.querySelector(".none")?.remove();
    while (feed.children.length > FED_MAX) feed.lastChild.remove();
  };

  const countZones = () => {
    const inside = zones.map(() => [0, 0]);
    const count = (which) => ([x, y]) => {
      const at = zones.findIndex(({ box: [west, north, east, south] }) => x >= west && x < east && y >= north && y < south);
      if (at >= 0) inside[at][which] += 1;
    };
    frame.players.forEach(([, x, y]) => count(0)([x, y]));
    frame.monsters.forEach(count(1));
    zones.forEach((zone, at) => {
      zone.players = inside[at][0];
      counts.children[at].lastChild.textContent = `${inside[at][0]} players, ${inside[at][1]} monsters`;
    });
  };

  const heard = (event) => {
    frame = JSON.parse(event.data);
    const seen = new Set();
    for (const [id, x, y, health] of frame.players) {
      const known = players.get(id) ?? { x, y, trail: [], trailAt: 0 };
      players.set(id, Object.assign(known, { to: [x, y], health }));
      seen.add(id);
    }
    for (const id of players.keys()) if (!seen.has(id)) players.delete(id);
    const news = frame.trades.filter(([number]) => lastTrade !== null && number > lastTrade);
    if (lastTrade === null) news.push(...frame.trades.slice(-FED_MAX));
    const first = lastTrade === null;
    lastTrade = frame.trades.reduce((most, [number]) => Math.max(most, number), lastTrade ?? 0);
    for (const [, one, other] of news) addTrade(one, other);
    if (first) trades = [];
    countZones();
    told.textContent = `${frame.present} players, ${frame.monsters.length} monsters, ${lastTrade} trades since the start.`;
    canvas.dataset.players = String(frame.players.length);
  };

  const view = () => {
    const sides = [0, 1, 2, 3].map((i) => (i < 2 ? Math.min : Math.max)(...zones.map(({ box }) => box[i])));
    const [west, north, east, south] = sides;
    const wide = matchMedia("(min-width: 46rem)").matches;
    const room = canvas.closest(".map").clientWidth - (wide ? ASIDE_PX : 0);
    const scale = Math.min(room / (east - west), Math.max(280, innerHeight * 0.82) / (south - north));
    const size = Math.min(1, Math.max(0.6, scale / 3)); // of the signs: smaller on a phone
    return { scale, size, at: (x, y) => [(x - west) * scale, (y - north) * scale], width: Math.round((east - west) * scale), height: Math.round((south - north) * scale) };
  };

  const fit = ({ width, height }) => {
    const ratio = devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height}px`;
    }
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  };

  const drawZone = (zone, index, { at, scale }) => {
    const [west, north, east, south] = zone.box;
    const [x, y] = at(west, north), [x2, y2] = at(east, south);
    pen.fillStyle = colors[zone.safe ? "safe" : ["wild-a", "wild-b", "wild-c"][index % 3]];
    pen.fillRect(x, y, x2 - x, y2 - y);
    pen.strokeStyle = colors.grid;
    pen.lineWidth = 1;
    pen.beginPath();
    const step = Math.max(10, Math.round(28 / scale / 10) * 10);
    for (let gx = Math.ceil(west / step) * step; gx < east; gx += step) { pen.moveTo(at(gx, 0)[0], y); pen.lineTo(at(gx, 0)[0], y2); }
    for (let gy = Math.ceil(north / step) * step; gy < south; gy += step) { pen.moveTo(x, at(0, gy)[1]); pen.lineTo(x2, at(0, gy)[1]); }
    pen.stroke();
    pen.strokeStyle = colors.edge;
    pen.lineWidth = 2;
    pen.strokeRect(x, y, x2 - x, y2 - y);
    pen.fillStyle = colors.mark;
    for (const [what, mx, my] of zone.marks) {
      const [px, py] = at(mx, my);
      pen.fillRect(px - 3, py - 3, 6, 6);
      pen.font = "11px system-ui";
      pen.fillText(what, px + 6, py + 4);
    }
  };

  const drawLabel = (zone, { at }) => {
    const [x, y] = at(zone.box[0], zone.box[1]);
    pen.fillStyle = colors.label;
    pen.strokeStyle = colors.rim;
    pen.lineWidth = 3;
    pen.lineJoin = "round";
    for (const [font, text, down] of [["700 15px system-ui", zone.name, 23], ["12px system-ui", `${zone.players} here`, 40]]) {
      pen.font = font;
      pen.strokeText(text, x + 11, y + down);
      pen.fillText(text, x + 11, y + down);
    }
  };

  const drawMonster = ([x, y, target], { at, size }) => {
    const [px, py] = at(x, y), hunted = players.get(target);
    if (hunted) {
      pen.globalAlpha = 0.5;
      pen.beginPath();
      pen.moveTo(px, py);
      pen.lineTo(...at(hunted.x, hunted.y));
      pen.stroke();
      pen.globalAlpha = 1;
    }
    pen.beginPath();
    pen.moveTo(px, py - 6 * size); pen.lineTo(px + 5.5 * size, py + 4 * size); pen.lineTo(px - 5.5 * size, py + 4 * size);
    pen.closePath();
    pen.fill();
  };

  const drawPlayer = (player, { at, size }) => {
    const [px, py] = at(player.x, player.y);
    if (player.trail.length > 1) {
      pen.strokeStyle = colors.player;
      pen.lineWidth = 2;
      pen.globalAlpha = 0.25;
      pen.beginPath();
      player.trail.forEach(([tx, ty], index) => (index ? pen.lineTo(...at(tx, ty)) : pen.moveTo(...at(tx, ty))));
      pen.lineTo(px, py);
      pen.stroke();
      pen.globalAlpha = 1;
    }
    pen.fillStyle = colors.player;
    pen.beginPath();
    pen.arc(px, py, 4.5 * size, 0, 2 * Math.PI);
    pen.fill();
    pen.strokeStyle = colors[player.health > 0.66 ? "high" : player.health > 0.33 ? "middle" : "low"];
    pen.lineWidth = 2;
    pen.beginPath();
    pen.arc(px, py, 7 * size, -Math.PI / 2, -Math.PI / 2 + 2 * Math.PI * Math.max(0.02, Math.min(1, player.health)));
    pen.stroke();
  };

  const drawTrade = (trade, at, now) => {
    const one = players.get(trade.one), other = players.get(trade.other);
    if (!one || !other) return;
    const age = (now - trade.at) / TRADE_MS, [x1, y1] = at(one.x, one.y), [x2, y2] = at(other.x, other.y);
    const rise = Math.max(26, Math.hypot(x2 - x1, y2 - y1) * 0.3), cx = (x1 + x2) / 2, cy = (y1 + y2) / 2 - rise;
    pen.strokeStyle = pen.fillStyle = colors.gold;
    pen.globalAlpha = 1 - age * age;
    pen.lineWidth = 2.5;
    pen.beginPath();
    pen.moveTo(x1, y1);
    pen.quadraticCurveTo(cx, cy, x2, y2);
    pen.stroke();
    for (const [px, py] of [[x1, y1], [x2, y2]]) {
      pen.beginPath();
      pen.arc(px, py, still.matches ? 12 : 9 + 16 * age, 0, 2 * Math.PI);
      pen.stroke();
    }
    if (!still.matches) {
      const t = (age * 2.5) % 1, along = (from, over, to) => (1 - t) * (1 - t) * from + 2 * (1 - t) * t * over + t * t * to;
      for (const [sx, sy, ex, ey] of [[x1, y1, x2, y2], [x2, y2, x1, y1]]) {
        pen.beginPath();
        pen.arc(along(sx, cx, ex), along(sy, cy, ey), 4, 0, 2 * Math.PI);
        pen.fill();
      }
    }
    pen.globalAlpha = 1;
  };

  const nearest = (at) => {
    let best = null, bestPx = NEAR_PX;
    if (pointer) for (const [id, player] of players) {
      const [px, py] = at(player.x, player.y), px2 = Math.hypot(px - pointer[0], py - pointer[1]);
      if (px2 < bestPx) { best = [id, px, py]; bestPx = px2; }
    }
    return best;
  };

  const drawPointed = (at, width) => {
    const found = nearest(at);
    canvas.classList.toggle("pointed", found !== null);
    if (!found) return;
    const [id, px, py] = found, text = `player ${id}`;
    pen.font = "600 13px system-ui";
    const wide = pen.measureText(text).width + 16, left = Math.min(width - wide - 4, px + 12);
    pen.fillStyle = colors.rim;
    pen.fillRect(left, py - 30, wide, 22);
    pen.fillStyle = colors.label;
    pen.fillText(text, left + 8, py - 14);
  };

  const draw = (now) => {
    requestAnimationFrame(draw);
    if (!zones.length || !frame) return;
    const seen = view(), { at } = seen;
    const follow = still.matches ? 1 : 1 - Math.exp(-(now - drawnAt) / 160);
    drawnAt = now;
    fit(seen);
    pen.clearRect(0, 0, seen.width, seen.height);
    zones.forEach((zone, index) => drawZone(zone, index, seen));
    for (const player of players.values()) {
      const [tx, ty] = player.to;
      if (Math.hypot(tx - player.x, ty - player.y) > 60) { [player.x, player.y] = [tx, ty]; player.trail = []; } // another zone, or a respawn
      player.x += (tx - player.x) * follow;
      player.y += (ty - player.y) * follow;
      if (now - player.trailAt > TRAIL_MS) {
        player.trail.push([player.x, player.y]);
        player.trailAt = now;
        if (player.trail.length > TRAIL_POINTS) player.trail.shift();
      }
    }
    pen.fillStyle = pen.strokeStyle = colors.monster;
    pen.lineWidth = 1.5;
    for (const monster of frame.monsters) drawMonster(monster, seen);
    for (const player of players.values()) drawPlayer(player, seen);
    trades = trades.filter((trade) => now - trade.at < TRADE_MS);
    for (const trade of trades) drawTrade(trade, at, now);
    for (const zone of zones) drawLabel(zone, seen);
    drawPointed(at, seen.width);
    const [first] = players.values();
    canvas.dataset.at = first ? at(first.x, first.y).map(Math.round).join(" ") : ""; // where a test finds a player
  };

  canvas.addEventListener("pointermove", (event) => { pointer = [event.offsetX, event.offsetY]; });
  canvas.addEventListener("pointerleave", () => { pointer = null; });
  canvas.addEventListener("click", (event) => {
    pointer = [event.offsetX, event.offsetY];
    const found = zones.length && nearest(view().at);
    if (found) location.href = playerPage(found[0]);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", readColors);

  fetch(canvas.dataset.world).then((answer) => answer.json()).then((world) => {
    readColors();
    zones = world.zones.map((zone) => ({ ...zone, players: 0 }));
    for (const zone of zones) {
      const line = document.createElement("li");
      const name = document.createElement("strong");
      name.textContent = zone.safe ? `${zone.name} (safe)` : zone.name;
      line.append(name, document.createElement("span"));
      counts.append(line);
    }
    const source = new EventSource(canvas.dataset.events);
    source.onmessage = heard;
    source.onerror = () => { told.textContent = "The realm does not answer; trying again."; };
    requestAnimationFrame(draw);
  }).catch(() => { told.textContent = "The realm does not answer: load the page again."; });
})();
