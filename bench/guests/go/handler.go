// Package export_wasi_http_handler answers every request, as the other hellos do.
package export_wasi_http_handler

import (
	"fmt"
	http "wit_component/wasi_http_types"

	wit "go.bytecodealliance.org/pkg/wit/types"
)

type (
	trailersResult = wit.Result[wit.Option[*http.Fields], http.ErrorCode]
	handled        = wit.Result[*http.Response, http.ErrorCode]
)

func Handle(request *http.Request) handled {
	path := request.GetPathWithQuery().SomeOr("/")
	writer, body := http.MakeStreamU8()
	go func() {
		defer writer.Drop()
		writer.WriteAll([]byte(fmt.Sprintf("Hello from Go! You asked for %s\n", path)))
	}()
	end, trailers := http.MakeFutureResultOptionFieldsErrorCode()
	go end.Write(wit.Ok[wit.Option[*http.Fields], http.ErrorCode](wit.None[*http.Fields]()))
	response, sent := http.ResponseNew(http.MakeFields(), wit.Some(body), trailers)
	sent.Drop()
	return wit.Ok[*http.Response, http.ErrorCode](response)
}
