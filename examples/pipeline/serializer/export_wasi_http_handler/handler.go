// Package export_wasi_http_handler answers requests: the body of a POST goes through the other
// components, and what comes out is the response, a JSON object on each line.
package export_wasi_http_handler

import (
	"strconv"

	"wit_component/pipeline_data_parse"
	"wit_component/pipeline_data_score"
	"wit_component/pipeline_data_types"
	http "wit_component/wasi_http_types"

	wit "go.bytecodealliance.org/pkg/wit/types"
)

// batch is how many scores are read, and then written, at a time.
const batch = 1024

// Handle connects the streams. They flow after it has returned, at the pace of the slowest: the client
// sends no faster than it, or somebody else, reads.
func Handle(request *http.Request) wit.Result[*http.Response, http.ErrorCode] {
	if request.GetMethod().Tag() != http.Method_Post {
		request.Drop()
		return respond(405, nil, "allow", "POST")
	}
	received, success := http.MakeFutureResultUnitErrorCode()
	go received.Write(wit.Ok[wit.Unit, http.ErrorCode](wit.Unit{}))
	body, trailers := http.RequestConsumeBody(request, success)
	trailers.Drop()
	scored := pipeline_data_score.Process(pipeline_data_parse.Process(body))
	output, response := http.MakeStreamU8()
	go serialize(scored, output)
	return respond(200, response, "content-type", "application/x-ndjson")
}

func serialize(input *wit.StreamReader[pipeline_data_types.Scored], output *wit.StreamWriter[uint8]) {
	defer input.Drop()
	defer output.Drop()
	scores := make([]pipeline_data_types.Scored, batch)
	var text []byte
	for !input.WriterDropped() && !output.ReaderDropped() {
		n := input.Read(scores)
		text = text[:0]
		for _, scored := range scores[:n] {
			text = appendObject(text, scored)
		}
		output.WriteAll(text)
	}
}

func appendObject(text []byte, scored pipeline_data_types.Scored) []byte {
	text = append(text, `{"id":`...)
	text = strconv.AppendUint(text, scored.Id, 10)
	text = append(text, `,"timestamp":`...)
	text = strconv.AppendUint(text, scored.Timestamp, 10)
	text = append(text, `,"score":`...)
	text = strconv.AppendFloat(text, scored.Score, 'g', 4, 64)
	return append(text, "}\n"...)
}

func respond(
	status uint16, body *wit.StreamReader[uint8], header, value string,
) wit.Result[*http.Response, http.ErrorCode] {
	headers := http.MakeFields()
	headers.Append(header, []byte(value))
	content := wit.None[*wit.StreamReader[uint8]]()
	if body != nil {
		content = wit.Some(body)
	}
	ended, trailers := http.MakeFutureResultOptionFieldsErrorCode()
	go ended.Write(wit.Ok[wit.Option[*http.Fields], http.ErrorCode](wit.None[*http.Fields]()))
	response, sent := http.ResponseNew(headers, content, trailers)
	sent.Drop()
	response.SetStatusCode(status)
	return wit.Ok[*http.Response, http.ErrorCode](response)
}
