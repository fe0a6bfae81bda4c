package cli

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cardea-id/cardea/internal/access"
	"github.com/cardea-id/cardea/internal/audit"
	"github.com/cardea-id/cardea/internal/tenant"
)

type logCommands struct {
	List   logList   `cmd:"" help:"List what was done, newest first."`
	Verify logVerify `cmd:"" help:"Prove that nothing in the log was changed or removed."`
}

type logList struct {
	onTenant
	format
	Action string `help:"What the action begins with, such as user. or user.created."`
	Actor  string `help:"Who did it, such as key:ID or command:LOGIN."`
	Target string `placeholder:"ID" help:"What it happened to."`
	Result string `placeholder:"success|failure" enum:",success,failure" default:"" help:"How it ended."`
	Since  string `placeholder:"WHEN" help:"The earliest: a date, a time, or a span such as 24h or 7d before now."`
	Until  string `placeholder:"WHEN" help:"The first moment that is too late, in the same forms."`
	Limit  int    `default:"50" help:"How many at most; 0 is all. Default: ${default}."`
}

// Run lists.
func (c *logList) Run(p *program) error {
	return c.onTenant.open(p, func(s *session, t tenant.Tenant, by access.Actor) error {
		f, err := c.filter(s.DB.Now())
		if err != nil {
			return err
		}
		events, err := c.read(s, t.ID, f)
		if err != nil {
			return err
		}
		return list(p.out, c.JSON, events, "TIME ACTOR ACTION TARGET RESULT DETAIL", func(e audit.Listed) []any {
			target := strings.Trim(e.Target+":"+e.TargetID, ":")
			return []any{e.At, e.Actor, e.Action, target, strings.TrimSpace(e.Result + " " + e.Reason), detail(e)}
		})
	})
}

func detail(e audit.Listed) string {
	if string(e.Detail) == "{}" {
		return ""
	}
	return string(e.Detail)
}

func (c *logList) filter(now time.Time) (f audit.Filter, err error) {
	f = audit.Filter{Action: c.Action, Actor: c.Actor, TargetID: c.Target, Result: c.Result}
	if f.Since, err = parseTime("since", c.Since, now, -1); err != nil {
		return f, err
	}
	f.Until, err = parseTime("until", c.Until, now, -1)
	return f, err
}

func (c *logList) read(s *session, tenant string, f audit.Filter) (events []audit.Listed, err error) {
	for {
		limit := audit.MaxList
		if c.Limit > 0 {
			limit = min(c.Limit-len(events), audit.MaxList)
		}
		page, err := audit.List(s.ctx, s.DB, tenant, f, limit)
		if err != nil {
			return nil, err
		}
		events = append(events, page...)
		if len(page) < limit || len(events) == c.Limit {
			return events, nil
		}
		f.Cursor = page[len(page)-1].ID
	}
}

type logVerify struct {
	onTenant
	format
	Noted []string `placeholder:"PLACE:HASH" help:"An end of the chain that was noted earlier, to be found again; needs --tenant; may be repeated."`
}

// Help implements kong.HelpProvider.
func (logVerify) Help() string {
	return "It proves the log of every tenant, or of the one named with --tenant, and names the first event that was altered, removed or put in. " +
		"What it cannot see is a log that was made anew from some event on; against that, keep the end it prints elsewhere, and give it back with --noted."
}

// A verdict is the report on one tenant's log.
type verdict struct {
	Slug string `json:"slug"` // empty if there is no tenant of that id
	audit.Report
}

// Run proves the logs. It fails if one of them is not what was written.
func (c *logVerify) Run(p *program) error {
	noted, err := c.marks()
	if err != nil {
		return err
	}
	return c.onDatabase.open(p, func(s *session) error {
		ids, slugs, err := c.logs(s)
		if err != nil {
			return err
		}
		bar := p.progress()
		var verdicts []verdict
		for i, id := range ids {
			_, exists := slugs[id]
			report, err := c.verify(s, id, exists, noted)
			if err != nil {
				bar.end()
				return err
			}
			verdicts = append(verdicts, verdict{slugs[id], report})
			bar.at(int64(i+1), int64(len(ids)))
		}
		bar.end()
		return c.tell(p, verdicts)
	})
}

// verify proves one log. That of a tenant that exists begins with its making, so an
// empty one has been emptied.
func (c *logVerify) verify(s *session, id string, exists bool, noted []audit.Mark) (report audit.Report, err error) {
	for range 2 { // events are in neither place for who looks while they are sealed
		report, err = audit.Verify(s.ctx, s.DB, id, noted...)
		if err != nil || !exists || report.Fault != nil || report.Proved+report.Unsealed > 0 {
			return report, err
		}
	}
	report.Fault = &audit.Fault{Seq: 1, Kind: audit.Missing, What: "the log is empty, but a tenant's log tells at least of its making"}
	return report, nil
}

func (c *logVerify) marks() (noted []audit.Mark, err error) {
	if len(c.Noted) > 0 && c.Tenant == "" {
		return nil, usage("--noted needs --tenant: each tenant has a chain of its own")
	}
	for _, text := range c.Noted {
		place, hash, _ := strings.Cut(text, ":")
		seq, err := strconv.ParseInt(place, 10, 64)
		if raw, hexErr := hex.DecodeString(hash); err != nil || hexErr != nil || len(raw) != 32 {
			return nil, usage("--noted: %q is not PLACE:HASH as cardea log verify prints it", text)
		}
		noted = append(noted, audit.Mark{Seq: seq, Hash: strings.ToLower(hash)})
	}
	return noted, nil
}

// logs returns the ids of the tenants whose logs to prove, and all slugs by id.
func (c *logVerify) logs(s *session) (ids []string, slugs map[string]string, err error) {
	tenants, err := s.Tenants.List(s.ctx, s.DB, actor(""))
	if err != nil {
		return nil, nil, err
	}
	slugs = map[string]string{}
	for _, t := range tenants {
		slugs[t.ID] = t.Slug
		if t.Slug == c.Tenant {
			return []string{t.ID}, slugs, nil
		}
	}
	if c.Tenant != "" {
		return nil, nil, tenant.ErrNotFound
	}
	ids, err = audit.Tenants(s.ctx, s.DB)
	for _, t := range tenants { // also those whose log is gone
		if !slices.Contains(ids, t.ID) {
			ids = append(ids, t.ID)
		}
	}
	return ids, slugs, err
}

func (c *logVerify) tell(p *program, verdicts []verdict) error {
	err := list(p.out, c.JSON, verdicts, "TENANT EVENTS UNSEALED END VERDICT", func(v verdict) []any {
		name, end, what := v.Slug, "", "as written"
		if name == "" {
			name = v.Tenant
		}
		if v.End.Hash != "" {
			end = fmt.Sprintf("%d:%s", v.End.Seq, v.End.Hash)
		}
		if v.Fault != nil {
			what = v.Fault.Error()
		}
		return []any{name, v.Proved, v.Unsealed, end, what}
	})
	if err != nil {
		return err
	}
	for _, v := range verdicts {
		if v.Fault != nil {
			name := v.Slug
			if name == "" {
				name = v.Tenant
			}
			return fail("the log of tenant %s is not what was written: %v; compare it with a backup before anything else is written", name, v.Fault)
		}
	}
	return nil
}
