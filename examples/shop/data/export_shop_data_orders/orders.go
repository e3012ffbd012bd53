// Package export_shop_data_orders keeps the shop's orders. Its name is that of the interface that it
// implements, as the bindings beside it import it.
package export_shop_data_orders

import (
	"crypto/rand"
	"time"

	sql "wit_component/dhow_sql_database"
	orders "wit_component/shop_data_orders"

	wit "go.bytecodealliance.org/pkg/wit/types"
)

// Products is everything that the shop sells.
func Products() wit.Result[[]orders.Product, string] {
	return answer(func(db *sql.Connection) ([]orders.Product, error) {
		rows, err := query(db, "SELECT id, name, price FROM product ORDER BY name")
		products := make([]orders.Product, len(rows))
		for i, row := range rows {
			products[i] = orders.Product{
				Id:    row[0].Text(),
				Name:  row[1].Text(),
				Price: uint32(row[2].Integer()),
			}
		}
		return products, err
	})
}

// Place keeps an order, all of it or nothing.
func Place(user string, lines []orders.Line, total uint64) wit.Result[orders.Order, string] {
	return answer(func(db *sql.Connection) (orders.Order, error) {
		order := orders.Order{
			Id:     rand.Text(),
			Lines:  lines,
			Total:  total,
			Placed: uint64(time.Now().UnixMilli()),
		}
		return order, transaction(db, func(db session) error {
			err := execute(db, "INSERT INTO purchase (id, customer, total, placed) VALUES ($1, $2, $3, $4)",
				order.Id, user, order.Total, order.Placed)
			for _, line := range lines {
				if err == nil {
					err = execute(db, "INSERT INTO line (purchase, product, quantity) VALUES ($1, $2, $3)",
						order.Id, line.Product, line.Quantity)
				}
			}
			return err
		})
	})
}

// PlacedBy is the last fifty orders of a user.
func PlacedBy(user string) wit.Result[[]orders.Order, string] {
	return answer(func(db *sql.Connection) ([]orders.Order, error) {
		rows, err := query(db, `
			SELECT purchase.id, total, placed, product, quantity
			FROM (SELECT * FROM purchase WHERE customer = $1 ORDER BY placed DESC LIMIT 50) AS purchase
			JOIN line ON line.purchase = purchase.id
			ORDER BY placed DESC, purchase.id, product`, user)
		var placed []orders.Order
		for _, row := range rows {
			if id := row[0].Text(); len(placed) == 0 || placed[len(placed)-1].Id != id {
				placed = append(placed, orders.Order{
					Id:     id,
					Total:  uint64(row[1].Integer()),
					Placed: uint64(row[2].Integer()),
				})
			}
			order := &placed[len(placed)-1]
			order.Lines = append(order.Lines, orders.Line{
				Product:  row[3].Text(),
				Quantity: uint32(row[4].Integer()),
			})
		}
		return placed, err
	})
}

// schema is understood by SQLite and by Postgres. The keys are text, and made here: each database has
// its own way to make numbers.
var schema = []string{
	`CREATE TABLE IF NOT EXISTS product (
		id TEXT PRIMARY KEY, name TEXT NOT NULL, price BIGINT NOT NULL)`,
	`CREATE TABLE IF NOT EXISTS purchase (
		id TEXT PRIMARY KEY, customer TEXT NOT NULL, total BIGINT NOT NULL, placed BIGINT NOT NULL)`,
	`CREATE INDEX IF NOT EXISTS purchase_of_customer ON purchase (customer, placed)`,
	`CREATE TABLE IF NOT EXISTS line (
		purchase TEXT NOT NULL REFERENCES purchase (id), product TEXT NOT NULL REFERENCES product (id),
		quantity BIGINT NOT NULL, PRIMARY KEY (purchase, product))`,
	`INSERT INTO product (id, name, price) VALUES
		('anchor', 'Anchor, small', 8900), ('compass', 'Compass, brass', 4550),
		('lantern', 'Storm lantern', 3200), ('rope', 'Rope, 20 m', 1490),
		('sextant', 'Sextant', 24900), ('tar', 'Tar, 1 l', 780)
		ON CONFLICT DO NOTHING`,
}

// answer does work with the database, and makes the tables where there are none yet.
func answer[T any](work func(*sql.Connection) (T, error)) wit.Result[T, string] {
	opened := sql.ConnectionOpen("orders")
	if opened.IsErr() {
		return wit.Err[T](failure{opened.Err()}.Error())
	}
	db := opened.Ok()
	defer db.Drop()
	result, err := work(db)
	if isStatement(err) {
		// Somebody else may do so at the same time: whether the tables are there is seen below.
		_ = transaction(db, func(db session) (err error) {
			for _, statement := range schema {
				if err == nil {
					err = execute(db, statement)
				}
			}
			return err
		})
		result, err = work(db)
	}
	if err != nil {
		return wit.Err[T](err.Error())
	}
	return wit.Ok[T, string](result)
}

// transaction does work as one, which is undone where it fails.
func transaction(db *sql.Connection, work func(session) error) error {
	begun := db.Begin()
	if begun.IsErr() {
		return failure{begun.Err()}
	}
	tx := begun.Ok()
	defer tx.Drop() // Undoes what was not committed.
	if err := work(tx); err != nil {
		return err
	}
	if committed := sql.TransactionCommit(tx); committed.IsErr() {
		return failure{committed.Err()}
	}
	return nil
}
