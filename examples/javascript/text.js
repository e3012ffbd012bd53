// A small JSON API, on `wasi:http/handler` of WASI 0.3.

import types from "wasi:http/types@0.3.2";

const { Fields, Request, Response } = types;

export const handler = {
  async handle(request) {
    const path = (request.getPathWithQuery() ?? "/").split("?")[0];
    const [, resource, argument] = path.split("/");
    const method = request.getMethod().tag;
    switch (resource) {
      case "greetings":
        if (method !== "get") return notAllowed("GET");
        return greet(argument);
      case "statistics":
        if (method !== "post") return notAllowed("POST");
        return json(200, await statistics(body(request)));
      default:
        return json(404, { error: "there are GET /greetings/NAME and POST /statistics" });
    }
  },
};

function greet(name) {
  try {
    return json(200, { greeting: `Hello, ${decodeURIComponent(name || "stranger")}!` });
  } catch {
    return json(400, { error: "that name is no UTF-8" });
  }
}

// Counts as `wc` does. Only one piece of the text is here at a time, however long it is.
async function statistics(chunks) {
  let [bytes, words, lines] = [0, 0, 0];
  let inWord = false;
  for await (const chunk of chunks) {
    bytes += chunk.length;
    for (const byte of chunk) {
      const isSpace = byte === 32 || (byte >= 9 && byte <= 13);
      if (byte === 10) lines++;
      if (!isSpace && !inWord) words++;
      inWord = !isSpace;
    }
  }
  return { bytes, words, lines };
}

function notAllowed(allowed) {
  return json(405, { error: `only ${allowed} is allowed here` }, [["allow", utf8(allowed)]]);
}

function json(status, value, headers = []) {
  const text = utf8(JSON.stringify(value) + "\n");
  const fields = Fields.fromList([
    ["content-type", utf8("application/json")],
    ["content-length", utf8(String(text.length))],
    ...headers,
  ]);
  const [response] = Response.new(fields, [text], settled("RESULT_OPTION_OTHER_ERROR_CODE", null));
  response.setStatusCode(status);
  return response;
}

// The request's body: a stream, which is read while the client sends it.
function body(request) {
  return Request.consumeBody(request, settled("RESULT_VOID_ERROR_CODE"))[0];
}

// A future of WIT that has succeeded: there are no trailers; the body was taken.
function settled(type, val) {
  return wit.Future.from({ tag: "ok", val }, wit.Future[type]).readable;
}

// This engine has no TextEncoder, which belongs to the web and not to the language.
function utf8(text) {
  const bytes = unescape(encodeURIComponent(text));
  return Uint8Array.from(bytes, (byte) => byte.charCodeAt(0));
}
