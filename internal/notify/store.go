package notify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cardea-id/cardea/internal/database"
)

func insertMessage(tx *database.Tx, tenant string, m Message, sealed []byte) {
	var expires *int64
	if !m.ExpiresAt.IsZero() {
		at := m.ExpiresAt.UnixMilli()
		expires = &at
	}
	tx.Later(`
		INSERT INTO messages (tenant_id, id, channel, purpose, recipient, content, state, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, 'queued', $7, $8)`,
		tenant, m.ID, m.Channel, m.Purpose, m.To, sealed, tx.Millis(), expires)
}

// findQueued returns a message that is still to be delivered, without its content,
// and the content sealed.
func findQueued(ctx context.Context, r database.Reader, tenant, id string) (m Message, sealed []byte, err error) {
	var created int64
	var expires *int64
	err = r.QueryRow(ctx, `
		SELECT channel, purpose, recipient, content, created_at, expires_at FROM messages
		WHERE tenant_id = $1 AND id = $2 AND state = 'queued'`, tenant, id,
	).Scan(&m.Channel, &m.Purpose, &m.To, &sealed, &created, &expires)
	if errors.Is(err, database.ErrNoRows) {
		return Message{}, nil, ErrNotFound
	}
	if err != nil {
		return Message{}, nil, fmt.Errorf("find queued message: %w", err)
	}
	m.ID, m.CreatedAt = id, time.UnixMilli(created).UTC()
	if expires != nil {
		m.ExpiresAt = time.UnixMilli(*expires).UTC()
	}
	return m, sealed, nil
}

func markSent(ctx context.Context, tx *database.Tx, tenant, id string, r Receipt) error {
	_, err := tx.Exec(ctx, `
		UPDATE messages SET state = 'sent', attempts = attempts + 1, last_error = '', sent_at = $3, provider_id = $4,
			content = CASE WHEN $5 THEN content END
		WHERE tenant_id = $1 AND id = $2`, tenant, id, tx.Millis(), r.ProviderID, r.Keep)
	if err != nil {
		return fmt.Errorf("mark message sent: %w", err)
	}
	return nil
}

func markFailed(ctx context.Context, tx *database.Tx, tenant, id, class string) error {
	_, err := tx.Exec(ctx, `
		UPDATE messages SET state = 'failed', attempts = attempts + 1, last_error = $3, content = NULL
		WHERE tenant_id = $1 AND id = $2`, tenant, id, class)
	if err != nil {
		return fmt.Errorf("mark message failed: %w", err)
	}
	return nil
}

func markTried(ctx context.Context, tx *database.Tx, tenant, id, class string) error {
	_, err := tx.Exec(ctx, `
		UPDATE messages SET attempts = attempts + 1, last_error = $3
		WHERE tenant_id = $1 AND id = $2`, tenant, id, class)
	if err != nil {
		return fmt.Errorf("mark message tried: %w", err)
	}
	return nil
}

const deliveryColumns = "id, channel, purpose, recipient, state, attempts, last_error, provider_id, created_at, sent_at"

func scanDelivery(row database.Scanner) (d Delivery, err error) {
	var created int64
	var sent *int64
	err = row.Scan(&d.ID, &d.Channel, &d.Purpose, &d.To, &d.State, &d.Attempts, &d.LastError, &d.ProviderID, &created, &sent)
	d.CreatedAt = time.UnixMilli(created).UTC()
	if sent != nil {
		d.SentAt = time.UnixMilli(*sent).UTC()
	}
	return d, err
}

func findDelivery(ctx context.Context, r database.Reader, tenant, id string) (Delivery, error) {
	d, err := scanDelivery(r.QueryRow(ctx, `SELECT `+deliveryColumns+` FROM messages WHERE tenant_id = $1 AND id = $2`, tenant, id))
	if errors.Is(err, database.ErrNoRows) {
		return Delivery{}, ErrNotFound
	}
	if err != nil {
		return Delivery{}, fmt.Errorf("find message: %w", err)
	}
	return d, nil
}

// listDeliveries has a statement for each form, so that each has its index.
func listDeliveries(ctx context.Context, r database.Reader, tenant, to, after string, limit int) ([]Delivery, error) {
	if after == "" {
		after = "~" // behind every id
	}
	if to == "" {
		rows, err := r.Query(ctx, `SELECT `+deliveryColumns+` FROM messages WHERE tenant_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3`, tenant, after, limit)
		return database.Collect(rows, err, "list messages", scanDelivery)
	}
	rows, err := r.Query(ctx, `
		SELECT `+deliveryColumns+` FROM messages WHERE tenant_id = $1 AND recipient = $2 AND id < $3
		ORDER BY id DESC LIMIT $4`, tenant, to, after, limit)
	return database.Collect(rows, err, "list messages", scanDelivery)
}

// kept is a delivered message whose content is still there.
type kept struct {
	sealed []byte
	letter Letter
}

func scanKept(row database.Scanner) (kept, error) {
	var k kept
	var sent int64
	err := row.Scan(&k.letter.ID, &k.letter.To, &k.letter.Channel, &k.sealed, &sent)
	k.letter.SentAt = time.UnixMilli(sent).UTC()
	return k, err
}

func listKept(ctx context.Context, r database.Reader, tenant, to string, limit int) ([]kept, error) {
	rows, err := r.Query(ctx, `
		SELECT id, recipient, channel, content, sent_at FROM messages
		WHERE tenant_id = $1 AND ($2 = '' OR LOWER(recipient) = LOWER($2)) AND state = 'sent' AND content IS NOT NULL
		ORDER BY id DESC LIMIT $3`, tenant, to, limit)
	return database.Collect(rows, err, "list messages", scanKept)
}

func findKept(ctx context.Context, r database.Reader, tenant, id string) (kept, error) {
	k, err := scanKept(r.QueryRow(ctx, `
		SELECT id, recipient, channel, content, sent_at FROM messages
		WHERE tenant_id = $1 AND id = $2 AND state = 'sent' AND content IS NOT NULL`, tenant, id))
	if errors.Is(err, database.ErrNoRows) {
		return kept{}, ErrNotFound
	}
	if err != nil {
		return kept{}, fmt.Errorf("find kept message: %w", err)
	}
	return k, nil
}

// keepFor is how long a message can be asked about.
const keepFor = 30 * 24 * time.Hour

// sweepMessages forgets old messages, of all tenants.
func sweepMessages(ctx context.Context, tx *database.Tx) error {
	if _, err := tx.Exec(ctx, `DELETE FROM messages WHERE created_at <= $1`, tx.Now.Add(-keepFor).UnixMilli()); err != nil {
		return fmt.Errorf("sweep messages: %w", err)
	}
	return nil
}
