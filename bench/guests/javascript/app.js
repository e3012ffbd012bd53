// The hello of JavaScript: wasi:http/handler of WASI 0.3, on QuickJS.
import types from "wasi:http/types@0.3.0";

const { Fields, Response } = types;
const bytes = (text) => Uint8Array.from(text, (character) => character.charCodeAt(0));

export const handler = {
  async handle(request) {
    const path = request.getPathWithQuery() ?? "/";
    const body = (async function* () {
      yield bytes(`Hello from JavaScript! You asked for ${path}\n`);
    })();
    const none = { tag: "ok", val: null };
    const trailers = wit.Future.from(none, wit.Future.RESULT_OPTION_OTHER_ERROR_CODE).readable;
    return Response.new(new Fields(), body, trailers)[0];
  },
};
