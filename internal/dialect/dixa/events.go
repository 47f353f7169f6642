package dixa

import (
	"slices"
	"strings"
	"unicode"

	"github.com/hookline-dev/hookline/internal/subscription"
)

// documentedEvents are what every page of the vendor's lists, in its order.
var documentedEvents = []string{
	"ConversationCreated", "ConversationOpen", "ConversationPending", "ConversationPendingExpired", "ConversationClosed",
	"ConversationAbandoned", "ConversationEnqueued", "ConversationAssigned", "ConversationUnassigned", "ConversationTransferred",
	"ConversationMessageAdded", "ConversationNoteAdded", "ConversationTagAdded", "ConversationTagRemoved", "ConversationRated",
	"ConversationEndUserReplaced", "ConversationCustomAttributeUpdated",
	"ConversationMessageDeliverySent", "ConversationMessageDeliveryDelivered", "ConversationMessageDeliverySeen",
	"ConversationMessageDeliveryFailed", "ConversationMessageDeliveryInfo", "ConversationMessageDeliverySpamComplaint",
	"AgentBannedEnduser", "AgentUnbannedEnduser", "AgentBannedIp", "AgentUnbannedIp", "TypingStarted",
	"SLAEvaluationPending", "SLAEvaluationAchieved", "SLAEvaluationBreached", "SLAEvaluationVoided",
}

// transcriptionAdded is listed on the page of PATCH alone. The server takes it everywhere; a client sends
// it where it is named, and expands no wildcard to it: other servers may refuse to create with it.
const transcriptionAdded = "ConversationTranscriptionAdded"

// knownEvents is the whole enumeration.
var knownEvents = append(slices.Clone(documentedEvents), transcriptionAdded)

// Catalogue are the event types that the vendor's pages agree on, sorted by name; the API lists none.
func Catalogue() []subscription.EventType {
	types := make([]subscription.EventType, 0, len(documentedEvents))
	for _, name := range slices.Sorted(slices.Values(documentedEvents)) {
		types = append(types, subscription.EventType{Name: name})
	}

	return types
}

// noEvents stands in the port for a subscription without events, which Dixa allows and the port does
// not: an event type that the enumeration lacks, so that nothing is delivered that was not asked for.
const noEvents = "dixa:no-events"

// shownEvents are a subscription's events as the enumeration has them: a pattern, which a subscription made
// by another dialect may have, shows as what it stands for.
func shownEvents(events []string) []string {
	shown := []string{}
	for _, event := range events {
		pattern, err := subscription.ParsePattern(event)
		if err != nil {
			continue
		}
		for _, known := range knownEvents {
			if pattern.Matches(known) && !slices.Contains(shown, known) {
				shown = append(shown, known)
			}
		}
	}

	return shown
}

// fqn is an event type's name in a notification: ConversationNoteAdded is CONVERSATION_NOTE_ADDED. The
// vendor shows five of these; that the others follow the same rule is an inference. A type that is not
// Dixa's is told by the same rule, its dots as underscores: order.paid is ORDER_PAID.
func fqn(eventType string) string {
	var out strings.Builder
	letters := []rune(eventType)
	for i, letter := range letters {
		if !unicode.IsLetter(letter) && !unicode.IsDigit(letter) {
			if out.Len() > 0 && !strings.HasSuffix(out.String(), "_") {
				out.WriteByte('_')
			}

			continue
		}
		// A word begins where a capital follows a small letter, and where it ends a run of capitals: SLA|Evaluation.
		begins := i > 0 && unicode.IsUpper(letter) &&
			(unicode.IsLower(letters[i-1]) || unicode.IsUpper(letters[i-1]) && i+1 < len(letters) && unicode.IsLower(letters[i+1]))
		if begins {
			out.WriteByte('_')
		}
		out.WriteRune(unicode.ToUpper(letter))
	}

	return strings.TrimSuffix(out.String(), "_")
}
