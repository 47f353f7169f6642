package v1alpha1

// Condition types. Ready, Reconciling and Stalled follow kstatus; Delivering and Paused stand beside them
// and never change Ready.
const (
	// ConditionReady is True when the provider holds what the resource asks for; on a provider, when its
	// credentials work.
	ConditionReady = "Ready"

	// ConditionReconciling is True while work is under way or waits for something; it is absent otherwise.
	ConditionReconciling = "Reconciling"

	// ConditionStalled is True when nothing will happen until somebody changes something; it is absent otherwise.
	ConditionStalled = "Stalled"

	// ConditionDelivering tells how deliveries fare: True when the latest delivery of every event type
	// succeeded, False when one failed or the provider suspended the subscription, Unknown when nothing is known.
	ConditionDelivering = "Delivering"

	// ConditionPaused is True while the annotation hookline.dev/paused is "true"; it is absent otherwise.
	ConditionPaused = "Paused"
)

// Reasons of Ready, Reconciling and Stalled.
const (
	// ReasonSynced says that the provider holds what the resource asks for.
	ReasonSynced = "Synced"

	// ReasonAvailable says that the provider answered and accepted the credentials.
	ReasonAvailable = "Available"

	// ReasonProgressing says that work has begun and is not finished.
	ReasonProgressing = "Progressing"

	// ReasonRetrying says that the provider could not be reached or failed, and that it is being tried again.
	ReasonRetrying = "Retrying"

	// ReasonRateLimited says that the provider asked to slow down, and when it will be asked again.
	ReasonRateLimited = "RateLimited"

	// ReasonUnsupportedByProvider says that the spec has a field that the provider cannot honour.
	ReasonUnsupportedByProvider = "UnsupportedByProvider"

	// ReasonInvalidSpec says that the spec is not valid, in a way that the API server could not see.
	ReasonInvalidSpec = "InvalidSpec"

	// ReasonRejected says that the provider refused the request and why.
	ReasonRejected = "Rejected"

	// ReasonProviderNotReady says that the provider resource is not Ready.
	ReasonProviderNotReady = "ProviderNotReady"

	// ReasonProviderNotFound says that the resource named by spec.providerRef does not exist.
	ReasonProviderNotFound = "ProviderNotFound"

	// ReasonNoDefaultProvider says that spec.providerRef is omitted and no provider is marked default.
	ReasonNoDefaultProvider = "NoDefaultProvider"

	// ReasonAmbiguousDefaultProvider says that spec.providerRef is omitted and several providers are marked default.
	ReasonAmbiguousDefaultProvider = "AmbiguousDefaultProvider"

	// ReasonNamespaceNotAllowed says that the cluster provider does not allow this namespace.
	ReasonNamespaceNotAllowed = "NamespaceNotAllowed"

	// ReasonSecretNotFound says that a Secret that is referred to, or the key in it, does not exist.
	ReasonSecretNotFound = "SecretNotFound"

	// ReasonSecretInvalid says that a Secret exists and its value cannot be used.
	ReasonSecretInvalid = "SecretInvalid"

	// ReasonAlreadyManaged says that another resource already manages the remote subscription.
	ReasonAlreadyManaged = "AlreadyManaged"

	// ReasonAmbiguousCreate says that several remote subscriptions match what was being created, so that
	// none can be taken for ours.
	ReasonAmbiguousCreate = "AmbiguousCreate"

	// ReasonAdoptionNotAllowed says that the provider does not allow this namespace to take over subscriptions.
	ReasonAdoptionNotAllowed = "AdoptionNotAllowed"

	// ReasonNameConflict says that the provider has a subscription of this name that is not ours.
	ReasonNameConflict = "NameConflict"

	// ReasonNotFoundAtProvider says that the subscription named by spec.subscriptionId, or the one to observe,
	// does not exist at the provider.
	ReasonNotFoundAtProvider = "NotFoundAtProvider"

	// ReasonPartiallySynced says that some, not all, of several remote subscriptions are as asked for.
	ReasonPartiallySynced = "PartiallySynced"

	// ReasonNoMatchingEvents says that a pattern matches none of the provider's event types, at a provider that takes
	// names alone.
	ReasonNoMatchingEvents = "NoMatchingEvents"

	// ReasonDrifted says that the remote subscription differs from the spec and that managementPolicy
	// ObserveOnly forbids to mend it.
	ReasonDrifted = "Drifted"

	// ReasonDeletionBlocked says why a deletion cannot go on, and what would let it.
	ReasonDeletionBlocked = "DeletionBlocked"

	// ReasonCredentialsRejected says that the provider refused the credentials (401 or 403).
	ReasonCredentialsRejected = "CredentialsRejected"

	// ReasonUnreachable says that the provider could not be reached at all.
	ReasonUnreachable = "Unreachable"

	// ReasonUnexpectedAnswer says that what answered is not the API that the provider's kind documents.
	ReasonUnexpectedAnswer = "UnexpectedAnswer"

	// ReasonInUse says that a provider waits with its deletion for the subscriptions that use it.
	ReasonInUse = "InUse"
)

// Reasons of Delivering.
const (
	// ReasonDelivered says that the latest delivery of every event type succeeded.
	ReasonDelivered = "Delivered"

	// ReasonFailing says that the latest delivery of at least one event type failed.
	ReasonFailing = "Failing"

	// ReasonSuspended says that the provider stopped delivering by itself, and why.
	ReasonSuspended = "Suspended"

	// ReasonDisabled says that spec.enabled is false.
	ReasonDisabled = "Disabled"

	// ReasonNoRecentDelivery says that the provider knows of no delivery yet.
	ReasonNoRecentDelivery = "NoRecentDelivery"

	// ReasonNotReported says that the provider does not tell how deliveries went.
	ReasonNotReported = "NotReported"
)

// ReasonPaused is the reason of Paused.
const ReasonPaused = "Paused"

// Reasons of Events, written on transitions only.
const (
	// EventCreated tells that a remote subscription was created.
	EventCreated = "Created"

	// EventUpdated tells that a remote subscription was changed because the spec changed.
	EventUpdated = "Updated"

	// EventAdopted tells that an existing remote subscription was taken over.
	EventAdopted = "Adopted"

	// EventRecovered tells that the reply to a create was lost and that its subscription was found again.
	EventRecovered = "Recovered"

	// EventDriftCorrected tells that somebody changed the remote subscription and that it was set back.
	EventDriftCorrected = "DriftCorrected"

	// EventRecreated tells that somebody deleted the remote subscription and that it was created again.
	EventRecreated = "Recreated"

	// EventDeleted tells that the remote subscription was deleted.
	EventDeleted = "Deleted"

	// EventOrphaned tells that the remote subscription was left behind, as deletionPolicy asks.
	EventOrphaned = "Orphaned"

	// EventSecretGenerated tells that a signing secret was generated.
	EventSecretGenerated = "SecretGenerated"

	// EventSecretRotated tells that a new signing secret was given to the provider.
	EventSecretRotated = "SecretRotated"

	// EventRotationRefused tells that a rotation was asked for at a provider that makes the signing secret itself and
	// has no rotation.
	EventRotationRefused = "RotationRefused"

	// EventSuspended tells that the provider stopped delivering by itself.
	EventSuspended = "Suspended"

	// EventResumed tells that a suspended subscription delivers again.
	EventResumed = "Resumed"

	// EventPaused tells that reconciling was paused.
	EventPaused = "Paused"

	// EventUnpaused tells that reconciling goes on.
	EventUnpaused = "Unpaused"

	// EventProviderChanged tells that the subscription moved to another provider.
	EventProviderChanged = "ProviderChanged"

	// EventDeliveriesFailing tells that deliveries began to fail.
	EventDeliveriesFailing = "DeliveriesFailing"

	// EventDeliveriesRecovered tells that deliveries succeed again.
	EventDeliveriesRecovered = "DeliveriesRecovered"
)
