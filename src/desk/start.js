
// Everything is there: begin.
draw();
poll();
listen();
setInterval(draw, 250);
