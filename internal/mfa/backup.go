package mfa

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/bits"
	"strings"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/database"
	"github.com/cardea-id/cardea/internal/secret"
)

// Backup codes: enough bits to be safe without any limit (NIST SP 800-63B-4, section
// 3.1.2.2), in letters and digits that nobody mistakes for one another.
const (
	setSize     = 10
	codeLetters = "0123456789ABCDEFGHJKMNPQRSTVWXYZ" // of Crockford's base 32
	codeLength  = 13                                 // 65 bits
	macSize     = 16
)

// likeness are the letters that a code does not have, and what they stand for.
var likeness = strings.NewReplacer("O", "0", "I", "1", "L", "1")

// BackupCodes are ten codes that were made for a user. The product keeps no copy.
type BackupCodes struct {
	Codes []string // to be shown once

	tenant, user string
	macs         []byte
}

// MakeBackupCodes makes ten codes for a user, which are good once ReplaceBackupCodes
// has committed. It is not called within a transaction.
func (s *Service) MakeBackupCodes(ctx context.Context, tenant, user string) (BackupCodes, error) {
	box, err := s.Box(ctx, tenant)
	if err != nil {
		return BackupCodes{}, err
	}
	set := BackupCodes{tenant: tenant, user: user}
	for range setSize {
		code := secret.Text(codeLetters, codeLength)
		set.Codes = append(set.Codes, code[:4]+"-"+code[4:8]+"-"+code[8:])
		set.macs = append(set.macs, codeMAC(box, tenant, user, code)...)
	}
	return set, nil
}

// codeMAC is what a code is kept as.
func codeMAC(box *secret.Box, tenant, user, code string) []byte {
	return secret.MAC(box.Derive("backup codes"), tenant+"\x00"+user+"\x00"+code)
}

// IsBackupCode reports whether s has the form of a backup code.
func IsBackupCode(s string) bool {
	_, ok := parseCode(BackupCode, s)
	return ok
}

// ReplaceBackupCodes makes these the user's codes, in place of all that were before.
// The caller has made sure that the user may, and tells them.
func (s *Service) ReplaceBackupCodes(ctx context.Context, tx *database.Tx, by access.Actor, set BackupCodes) error {
	if set.tenant == "" || set.tenant != by.Tenant {
		return ErrNotFound.Because("codes of another tenant")
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO backup_codes (tenant_id, user_id, macs, used, created_at) VALUES ($1, $2, $3, 0, $4)
		ON CONFLICT (tenant_id, user_id) DO UPDATE SET macs = excluded.macs, used = 0, created_at = excluded.created_at`,
		set.tenant, set.user, set.macs, tx.Millis())
	if database.IsMissingParent(err) {
		return ErrNotFound.Because("the user is gone")
	}
	if err != nil {
		return fmt.Errorf("replace backup codes: %w", err)
	}
	return audit.Append(tx, by, audit.Event{Action: "backup_codes.created", Target: "user", TargetID: set.user, Detail: map[string]any{"codes": len(set.Codes)}})
}

// findBackupCode finds the place of a code in the user's set. It looks at all of them.
func (s *Service) findBackupCode(ctx context.Context, box *secret.Box, t *Ticket, code string) error {
	err := s.DB.QueryRow(ctx, "SELECT macs FROM backup_codes WHERE tenant_id = $1 AND user_id = $2", t.tenant, t.user).Scan(&t.set)
	if errors.Is(err, database.ErrNoRows) {
		return ErrCode.Because("there are none")
	}
	if err != nil {
		return fmt.Errorf("read backup codes: %w", err)
	}
	wanted := codeMAC(box, t.tenant, t.user, code)
	for i := 0; (i+1)*macSize <= len(t.set); i++ {
		if secret.Equal(t.set[i*macSize:(i+1)*macSize], wanted) {
			t.bit = 1 << i
		}
	}
	if t.bit == 0 {
		return ErrCode
	}
	return nil
}

// spendBackupCode is one statement, so that of a hundred at once one goes on, and none
// with a code of a set that was replaced. It returns how many are left.
func spendBackupCode(ctx context.Context, tx *database.Tx, t Ticket) (left int, err error) {
	var used int64
	err = tx.QueryRow(ctx, `
		UPDATE backup_codes SET used = used | $4
		WHERE tenant_id = $1 AND user_id = $2 AND macs = $3 AND (used & $4) = 0 RETURNING used`, t.tenant, t.user, bytes.Clone(t.set), t.bit).Scan(&used)
	if errors.Is(err, database.ErrNoRows) {
		return 0, ErrCode.Because("used or replaced already")
	}
	if err != nil {
		return 0, fmt.Errorf("use backup code: %w", err)
	}
	return setSize - bits.OnesCount64(uint64(used)), nil
}
