package hooklinetest_test

import (
	"context"
	"fmt"

	"github.com/hookline-dev/hookline/controllers/hooklinetest"
)

// A provider behaves as the dispatcher does until it is told to fail.
func ExampleAccount_Script() {
	ctx := context.Background()
	account := hooklinetest.NewProvider().Account("support")
	account.Script(hooklinetest.OpCreate, 1, hooklinetest.ReplyLost())

	_, err := account.Create(ctx, hooklinetest.Draft{
		Name: "presence-feed", URL: "https://receiver.example.com/hooks", Events: []string{"agent.*"}, Enabled: true,
	})
	fmt.Println("error:", err)
	fmt.Println("made:", len(account.Subscriptions()))
	for _, request := range account.Requests() {
		fmt.Println("received:", request.Op, request.Fault)
	}
	// Output:
	// error: reading the reply: connection reset by peer
	// made: 1
	// received: Create ReplyLost
}
