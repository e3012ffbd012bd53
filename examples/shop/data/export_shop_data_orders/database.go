package export_shop_data_orders

import (
	"errors"
	"fmt"

	sql "wit_component/dhow_sql_database"
	types "wit_component/dhow_sql_types"

	wit "go.bytecodealliance.org/pkg/wit/types"
)

// session is what a connection and a transaction have in common.
type session interface {
	Execute(statement string, parameters []sql.Value) wit.Result[uint64, sql.Error]
	Query(statement string, parameters []sql.Value) wit.Result[sql.Rows, sql.Error]
}

func execute(db session, statement string, parameters ...any) error {
	if done := db.Execute(statement, values(parameters)); done.IsErr() {
		return failure{done.Err()}
	}
	return nil
}

// query is all rows that a statement gives.
func query(db session, statement string, parameters ...any) ([]sql.Row, error) {
	begun := db.Query(statement, values(parameters))
	if begun.IsErr() {
		return nil, failure{begun.Err()}
	}
	stream, end := begun.Ok().F1, begun.Ok().F2
	defer stream.Drop()
	var rows []sql.Row
	buffer := make([]sql.Row, 64)
	for !stream.WriterDropped() {
		n := stream.Read(buffer)
		rows = append(rows, buffer[:n]...)
	}
	if ended := end.Read(); ended.IsErr() {
		return nil, failure{ended.Err()}
	}
	return rows, nil
}

func values(parameters []any) []sql.Value {
	values := make([]sql.Value, len(parameters))
	for i, parameter := range parameters {
		switch parameter := parameter.(type) {
		case string:
			values[i] = types.MakeValueText(parameter)
		case uint32:
			values[i] = types.MakeValueInteger(int64(parameter))
		case uint64:
			values[i] = types.MakeValueInteger(int64(parameter))
		default:
			panic(fmt.Sprintf("no column of the shop takes a %T", parameter))
		}
	}
	return values
}

// failure is what the database says, as an error of Go.
type failure struct{ cause sql.Error }

func (f failure) Error() string {
	switch f.cause.Tag() {
	case types.Error_AccessDenied:
		return "no database is granted by that name"
	case types.Error_Unreachable:
		return "the database can't be reached"
	case types.Error_Statement:
		return f.cause.Statement().Message
	case types.Error_Constraint:
		return f.cause.Constraint().Message
	case types.Error_Conflict:
		return f.cause.Conflict().Message
	case types.Error_Other:
		return f.cause.Other()
	default:
		return fmt.Sprintf("error %d of dhow:sql", f.cause.Tag())
	}
}

// isStatement tells whether the database did not understand what it was asked: a table is missing.
func isStatement(err error) bool {
	var failed failure
	return errors.As(err, &failed) && failed.cause.Tag() == types.Error_Statement
}
