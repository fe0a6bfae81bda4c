package problem_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardea-id/cardea/internal/problem"
)

var (
	errSpent = problem.New(problem.Invalid, "test_spent", "The link was used.")
	errOther = problem.New(problem.NotFound, "test_other", "There is none.")
)

func TestAProblemKeepsItsIdentity(t *testing.T) {
	t.Parallel()
	cause := errors.New("row 7")
	for name, p := range map[string]*problem.Problem{
		"itself":  errSpent,
		"because": errSpent.Because("no row: %w", cause),
		"saying":  errSpent.Saying("The link of %s was used.", "yesterday"),
		"in":      errSpent.In("token"),
		"after":   errSpent.After(time.Second),
	} {
		for _, err := range []error{p, fmt.Errorf("redeem: %w", p), errors.Join(errors.New("x"), p)} {
			if !errors.Is(err, errSpent) || errors.Is(err, errOther) {
				t.Errorf("%s: %v does not match its declaration and no other", name, err)
			}
			if got, ok := problem.From(err); !ok || got != p {
				t.Errorf("%s: From(%v) = %v, %v", name, err, got, ok)
			}
		}
		if p.Kind != problem.Invalid || p.Code != "test_spent" {
			t.Errorf("%s changed kind or code: %+v", name, p)
		}
	}
	if err := errSpent.Because("no row: %w", cause); !errors.Is(err, cause) || err.Error() != "test_spent: no row: row 7" {
		t.Errorf("the log reads %q, and the cause is found: %v", err, errors.Is(err, cause))
	}
}

func TestADeclarationIsNeverChanged(t *testing.T) {
	t.Parallel()
	_ = errSpent.Because("x").Saying("y").In("z").After(time.Hour)
	if errSpent.Message != "The link was used." || errSpent.Fields != nil || errSpent.RetryAfter != 0 || errSpent.Unwrap() != nil || errSpent.Error() != "test_spent" {
		t.Errorf("the declaration is now %+v", errSpent)
	}
	first := errSpent.In("a").In("b")
	left, right := first.In("left"), first.In("right") // must not share what they append to
	names := func(p *problem.Problem) (names []string) {
		for _, f := range p.Fields {
			names = append(names, f.Name+"="+f.Message)
		}
		return names
	}
	for p, want := range map[*problem.Problem]string{
		first: "a b", left: "a b left", right: "a b right",
		errSpent.In("a").Saying("Other.").In("b"): "a b=Other.",
	} {
		want = strings.ReplaceAll(want+" ", " ", "=The link was used. ")
		want = strings.ReplaceAll(want, "b=Other.=The link was used.", "b=Other.")
		if got := strings.Join(names(p), " ") + " "; got != want {
			t.Errorf("fields %q, want %q", got, want)
		}
	}
}

// What a caller may see holds nothing of the cause.
func TestTheCauseIsHidden(t *testing.T) {
	t.Parallel()
	p := errSpent.Because("SELECT secret FROM %s", "users")
	if shown := fmt.Sprint(p.Kind, p.Code, p.Message, p.Fields, p.RetryAfter); strings.Contains(shown, "SELECT") {
		t.Errorf("shown: %s", shown)
	}
}

func TestFromFindsNothingInOtherErrors(t *testing.T) {
	t.Parallel()
	for _, err := range []error{nil, errors.New("x"), fmt.Errorf("y: %w", errors.New("test_spent"))} {
		if p, ok := problem.From(err); ok || p != nil {
			t.Errorf("From(%v) = %v", err, p)
		}
		if errors.Is(err, errSpent) {
			t.Errorf("%v matches by its text", err)
		}
	}
}

func TestAllListsEachCodeOnce(t *testing.T) {
	t.Parallel()
	again := problem.New(problem.Conflict, "test_spent", "Declared a second time.")
	var codes []string
	for _, p := range problem.All() {
		codes = append(codes, p.Code)
		if p.Code == "test_spent" && p == again {
			t.Error("the later declaration is listed, want the first")
		}
	}
	if !slices.IsSorted(codes) || len(slices.Compact(slices.Clone(codes))) != len(codes) || !slices.Contains(codes, "test_other") {
		t.Errorf("codes %v, want each once, in order", codes)
	}
	problem.All()[0] = nil
	if problem.All()[0] == nil {
		t.Error("the list can be changed from outside")
	}
}
