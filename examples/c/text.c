// A small JSON API, on `wasi:http/handler` of WASI 0.3.
//
// In C, an asynchronous function keeps no stack while it waits: `handle` returns to the host what it
// waits for, and the host calls `handle_callback` when that is there. What has to last until then is
// a `task`.

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h" // Made of `wit`.

// Names for what the bindings spell out.
typedef wasi_http_types_stream_u8_t body_t;
typedef wasi_http_types_stream_u8_writer_t body_writer_t;
typedef wasi_http_types_future_result_option_own_trailers_error_code_t trailers_t;
typedef wasi_http_types_future_result_option_own_trailers_error_code_writer_t trailers_writer_t;
typedef wasi_http_types_future_result_void_error_code_t outcome_t;
typedef wasi_http_types_future_result_void_error_code_writer_t outcome_writer_t;
typedef wasi_http_types_tuple2_field_name_field_value_t field_t;

typedef struct {
  enum { READING, CONFIRMING, WRITING, ENDING, DONE } step;
  text_waitable_set_t set; // What the task waits for, 0 until it has waited.
  body_t request;
  outcome_writer_t received; // Where the host is told that the request was taken.
  body_writer_t response;
  trailers_writer_t trailers;
  size_t bytes, words, lines;
  bool in_word;
  size_t length, sent; // Of what is in the buffer.
  char buffer[16 * 1024]; // First of the request's pieces, then of the response.
} task_t;

// What the writers of futures are given: no error, and no trailers. The host may read it for as long
// as the instance is there.
static const wasi_http_types_result_void_error_code_t success = {0};
static const wasi_http_types_result_option_own_trailers_error_code_t no_trailers = {0};

// Counts as `wc` does.
static void count(task_t *task, size_t length) {
  task->bytes += length;
  for (size_t i = 0; i < length; i++) {
    char byte = task->buffer[i];
    bool is_space = byte == ' ' || (byte >= '\t' && byte <= '\r');
    task->lines += byte == '\n';
    task->words += !is_space && !task->in_word;
    task->in_word = !is_space;
  }
}

static field_t field(const char *name, const char *value) {
  return (field_t){{(uint8_t *)name, strlen(name)}, {(uint8_t *)value, strlen(value)}};
}

// Returns the response to the host, which then reads its body from the task's buffer.
static void respond(task_t *task, int status, const char *allow) {
  char length[24];
  task->length = strlen(task->buffer);
  snprintf(length, sizeof length, "%zu", task->length);
  field_t fields[] = {
      field("content-type", "application/json"),
      field("content-length", length),
      field("allow", allow ? allow : ""),
  };
  wasi_http_types_list_tuple2_field_name_field_value_t list = {fields, allow ? 3 : 2};
  wasi_http_types_own_headers_t headers;
  wasi_http_types_header_error_t error;
  if (!wasi_http_types_static_fields_from_list(&list, &headers, &error)) abort();

  body_t body = wasi_http_types_stream_u8_new(&task->response);
  trailers_t trailers =
      wasi_http_types_future_result_option_own_trailers_error_code_new(&task->trailers);
  wasi_http_types_tuple2_own_response_future_result_void_error_code_t made;
  wasi_http_types_static_response_new(headers, &body, trailers, &made);
  wasi_http_types_future_result_void_error_code_drop_readable(made.f1);
  wasi_http_types_borrow_response_t response = wasi_http_types_borrow_response(made.f0);
  if (!wasi_http_types_method_response_set_status_code(response, status)) abort();

  exports_wasi_http_handler_result_own_response_error_code_t result = {.val.ok = made.f0};
  exports_wasi_http_handler_handle_return(result);
  task->step = WRITING;
}

static void respond_error(task_t *task, int status, const char *error, const char *allow) {
  snprintf(task->buffer, sizeof task->buffer, "{\"error\":\"%s\"}\n", error);
  respond(task, status, allow);
}

static int hex_digit(char digit) {
  const char *digits = "0123456789abcdef";
  const char *found = digit ? strchr(digits, digit | 0x20) : NULL;
  return found ? (int)(found - digits) : -1;
}

// Undoes percent-encoding, in place.
static void decode(char *text) {
  char *out = text;
  for (; *text; text++, out++) {
    int high = -1, low = -1;
    if (*text == '%' && (high = hex_digit(text[1])) >= 0) low = hex_digit(text[2]);
    *out = low >= 0 ? (char)(high << 4 | low) : *text;
    if (low >= 0) text += 2;
  }
  *out = '\0';
}

static void greet(task_t *task, char *name) {
  decode(name);
  setlocale(LC_CTYPE, "C.UTF-8");
  if (mbstowcs(NULL, name, 0) == (size_t)-1) {
    respond_error(task, 400, "that name is no UTF-8", NULL);
    return;
  }
  char *out = task->buffer;
  // A byte becomes six at most.
  char *end = out + sizeof task->buffer - 16;
  out += sprintf(out, "{\"greeting\":\"Hello, ");
  for (const char *in = *name ? name : "stranger"; *in && out < end; in++) {
    if ((unsigned char)*in < ' ') {
      out += sprintf(out, "\\u%04x", *in);
    } else {
      if (*in == '"' || *in == '\\') *out++ = '\\';
      *out++ = *in;
    }
  }
  strcpy(out, "!\"}\n");
  respond(task, 200, NULL);
}

static void begin_reading(task_t *task, exports_wasi_http_handler_own_request_t request) {
  outcome_t received = wasi_http_types_future_result_void_error_code_new(&task->received);
  wasi_http_types_tuple2_stream_u8_future_result_option_own_trailers_error_code_t parts;
  wasi_http_types_static_request_consume_body(request, received, &parts);
  wasi_http_types_future_result_option_own_trailers_error_code_drop_readable(parts.f1);
  task->request = parts.f0;
  task->step = READING;
}

static void route(task_t *task, exports_wasi_http_handler_own_request_t request) {
  static const char GREETINGS[] = "/greetings/", STATISTICS[] = "/statistics";
  wasi_http_types_borrow_request_t borrowed = wasi_http_types_borrow_request(request);
  wasi_http_types_method_t method;
  wasi_http_types_method_request_get_method(borrowed, &method);
  text_string_t text = {0};
  wasi_http_types_method_request_get_path_with_query(borrowed, &text);
  char *path = strndup((char *)text.ptr, text.len);
  path[strcspn(path, "?")] = '\0';

  bool is_greeting = !strncmp(path, GREETINGS, strlen(GREETINGS));
  bool is_statistics = !strcmp(path, STATISTICS);
  if (is_statistics && method.tag == WASI_HTTP_TYPES_METHOD_POST) {
    begin_reading(task, request);
  } else {
    wasi_http_types_request_drop_own(request);
    if (is_statistics) {
      respond_error(task, 405, "only POST is allowed here", "POST");
    } else if (!is_greeting) {
      respond_error(task, 404, "there are GET /greetings/NAME and POST /statistics", NULL);
    } else if (method.tag != WASI_HTTP_TYPES_METHOD_GET) {
      respond_error(task, 405, "only GET is allowed here", "GET");
    } else {
      greet(task, path + strlen(GREETINGS));
    }
  }
  free(path);
  text_string_free(&text);
  wasi_http_types_method_free(&method);
}

// Begins what the task does next. That may be over at once, or has to be waited for.
static text_waitable_status_t begin(task_t *task, uint32_t *waitable) {
  switch (task->step) {
    case READING:
      *waitable = task->request;
      return wasi_http_types_stream_u8_read(
          task->request, (uint8_t *)task->buffer, sizeof task->buffer);
    case CONFIRMING:
      *waitable = task->received;
      return wasi_http_types_future_result_void_error_code_write(task->received, &success);
    case WRITING:
      *waitable = task->response;
      return wasi_http_types_stream_u8_write(
          task->response, (uint8_t *)task->buffer + task->sent, task->length - task->sent);
    case ENDING:
      *waitable = task->trailers;
      return wasi_http_types_future_result_option_own_trailers_error_code_write(
          task->trailers, &no_trailers);
    default:
      abort();
  }
}

// Ends what has come to its end as `status` says.
static void end(task_t *task, text_waitable_status_t status) {
  size_t length = TEXT_WAITABLE_COUNT(status);
  bool is_last = TEXT_WAITABLE_STATE(status) == TEXT_WAITABLE_DROPPED;
  switch (task->step) {
    case READING:
      count(task, length);
      if (!is_last) break;
      wasi_http_types_stream_u8_drop_readable(task->request);
      task->step = CONFIRMING;
      break;
    case CONFIRMING:
      wasi_http_types_future_result_void_error_code_drop_writable(task->received);
      snprintf(task->buffer, sizeof task->buffer,
               "{\"bytes\":%zu,\"words\":%zu,\"lines\":%zu}\n", task->bytes, task->words,
               task->lines);
      respond(task, 200, NULL);
      break;
    case WRITING:
      task->sent += length;
      if (!is_last && task->sent < task->length) break;
      wasi_http_types_stream_u8_drop_writable(task->response);
      task->step = ENDING;
      break;
    case ENDING:
      wasi_http_types_future_result_option_own_trailers_error_code_drop_writable(task->trailers);
      task->step = DONE;
      break;
    default:
      abort();
  }
}

// Goes on until there is something to wait for, and says what.
static text_callback_code_t go_on(task_t *task) {
  while (task->step != DONE) {
    uint32_t waitable;
    text_waitable_status_t status = begin(task, &waitable);
    if (status == TEXT_WAITABLE_STATUS_BLOCKED) {
      if (!task->set) task->set = text_waitable_set_new();
      text_waitable_join(waitable, task->set);
      text_context_set_0(task);
      return TEXT_CALLBACK_CODE_WAIT(task->set);
    }
    end(task, status);
  }
  if (task->set) text_waitable_set_drop(task->set);
  free(task);
  return TEXT_CALLBACK_CODE_EXIT;
}

text_callback_code_t exports_wasi_http_handler_handle(
    exports_wasi_http_handler_own_request_t request) {
  task_t *task = calloc(1, sizeof *task);
  if (!task) abort();
  route(task, request);
  return go_on(task);
}

text_callback_code_t exports_wasi_http_handler_handle_callback(text_event_t *event) {
  task_t *task = text_context_get_0();
  text_waitable_join(event->waitable, 0);
  end(task, event->code);
  return go_on(task);
}
