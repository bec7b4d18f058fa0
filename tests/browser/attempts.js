// What a hostile page tries: `attempts(base)` sends requests to the server at `base` in every way that a page has, and
// resolves to an object from the name of each way to the text that the page could read, or null.
async (base) => {
  const chat = `${base}/v1/chat/completions`;
  const models = `${base}/v1/models`;
  const body = JSON.stringify({ model: "echo", messages: [{ role: "user", content: "secret" }] });
  const json = { "content-type": "application/json" };
  const read = (url, options) => fetch(url, options).then((response) => response.text());
  const event = (make, good) =>
    new Promise((resolve, reject) => {
      const target = make();
      target[good] = (message) => resolve(message.data ?? "loaded");
      target.onerror = reject;
    });
  const element = (name, attributes) =>
    event(() => document.body.appendChild(Object.assign(document.createElement(name), attributes)), "onload");
  const form = (enctype) =>
    new Promise((resolve) => {
      const frame = document.body.appendChild(Object.assign(document.createElement("iframe"), { name: enctype }));
      const sent = document.body.appendChild(document.createElement("form"));
      Object.assign(sent, { action: chat, method: "post", enctype, target: enctype });
      const hidden = { type: "hidden", name: body.replace(/}$/, ', "user": "'), value: '"}' };
      sent.appendChild(Object.assign(document.createElement("input"), hidden));
      frame.onload = () => resolve(frame.contentDocument?.body?.innerText || null);
      sent.submit();
      setTimeout(() => resolve(frame.contentDocument?.body?.innerText || null), 2000);
    });
  const ways = {
    get: () => read(models),
    get_no_cors: () => read(models, { mode: "no-cors" }),
    post_text: () => read(chat, { method: "POST", body }),
    post_text_no_cors: () => read(chat, { method: "POST", body, mode: "no-cors" }),
    post_blob: () => read(chat, { method: "POST", body: new Blob([body]) }),
    post_form: () => read(chat, { method: "POST", body: new URLSearchParams(body) }),
    post_json: () => read(chat, { method: "POST", body, headers: json }),
    post_json_without_v1: () => read(`${base}/tokenize`, { method: "POST", body, headers: json }),
    beacon: async () => void navigator.sendBeacon(chat, body),
    events: () => event(() => new EventSource(models), "onmessage"),
    socket: () => event(() => new WebSocket(models.replace("http", "ws")), "onmessage"),
    image: () => element("img", { src: models }),
    script: () => element("script", { src: models }),
    style: () => element("link", { rel: "stylesheet", href: models }),
    form_text: () => form("text/plain"),
    form_encoded: () => form("application/x-www-form-urlencoded"),
  };
  const results = {};
  for (const [name, way] of Object.entries(ways)) {
    results[name] = await way().then((text) => text || null, () => null);
  }
  return results;
}
