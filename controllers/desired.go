package controllers

import (
	"context"
	"fmt"
	"net/textproto"
	"slices"
	"strings"

	"github.com/hookline-dev/hookline/api/v1alpha1"
	"github.com/hookline-dev/hookline/internal/subscription"
)

// authorization is the spec's, its Secrets read.
func (s *subscriptionScope) authorization(ctx context.Context) (subscription.Authorization, error) {
	var out subscription.Authorization

	spec := s.sub.Spec.Authorization
	if spec == nil {
		return out, nil
	}

	if spec.Bearer != nil {
		token, err := s.value(ctx, "spec.authorization.bearer.secretRef", spec.Bearer.SecretRef.Name, spec.Bearer.SecretRef.Key)

		return subscription.Authorization{Scheme: subscription.SchemeBearer, Token: token}, err
	}

	name := spec.Basic.SecretRef.Name
	path := "spec.authorization.basic.secretRef"

	username, err := s.value(ctx, path, name, basicUsername)
	if err != nil {
		return out, err
	}

	password, err := s.value(ctx, path, name, basicPassword)

	return subscription.Authorization{Scheme: subscription.SchemeBasic, Username: username, Password: password}, err
}

// headers are the spec's, their Secrets read, in the form of the port.
func (s *subscriptionScope) headers(ctx context.Context) ([]subscription.Header, error) {
	var out []subscription.Header

	for _, header := range s.sub.Spec.Headers {
		made := subscription.Header{Name: textproto.CanonicalMIMEHeaderKey(header.Name), Value: header.Value}

		if ref := header.SecretKeyRef; ref != nil {
			value, err := s.value(ctx, "spec.headers ("+header.Name+")", ref.Name, ref.Key)
			if err != nil {
				return nil, err
			}

			made.Value, made.Sensitive = value, true
		}

		out = append(out, made)
	}

	slices.SortFunc(out, func(a, b subscription.Header) int { return strings.Compare(a.Name, b.Name) })

	return out, nil
}

func (s *subscriptionScope) value(ctx context.Context, path, name, key string) (string, error) {
	value, err := s.secrets.Value(ctx, s.sub.Namespace, name, key)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}

	return value, nil
}

func deliveryOf(spec *v1alpha1.Delivery) subscription.Delivery {
	if spec == nil {
		return subscription.Delivery{}
	}

	out := subscription.Delivery{
		Format: subscription.Format(spec.Format), Timeout: spec.TimeoutOrZero(), Ordering: subscription.Ordering(spec.Ordering),
	}

	for _, pair := range []struct {
		from *int32
		to   *int32
	}{{spec.MaxAttempts, &out.MaxAttempts}, {spec.MaxInFlight, &out.MaxInFlight}, {spec.RateLimit, &out.RateLimit}} {
		if pair.from != nil {
			*pair.to = *pair.from
		}
	}

	return out
}

func optionsOf(spec *v1alpha1.VendorOptions) subscription.Options {
	var out subscription.Options

	if spec == nil {
		return out
	}

	if bird := spec.Bird; bird != nil {
		out.Bird = &subscription.BirdOptions{Template: bird.Template}
		for _, filter := range bird.EventFilters {
			out.Bird.EventFilters = append(out.Bird.EventFilters, subscription.BirdEventFilter{Key: filter.Key, Value: filter.Value})
		}
	}

	if dixa := spec.Dixa; dixa != nil {
		out.Dixa = &subscription.DixaOptions{Filters: map[string]subscription.DixaFilters{}}
		for i := range dixa.Filters {
			out.Dixa.Filters[dixa.Filters[i].Family] = dixaFilters(&dixa.Filters[i])
		}
	}

	return out
}

func dixaFilters(spec *v1alpha1.DixaFilter) subscription.DixaFilters {
	out := subscription.DixaFilters{Strategy: string(spec.StrategyOrDefault())}
	for _, condition := range spec.Conditions {
		out.Conditions = append(out.Conditions, subscription.DixaCondition{
			Operator: string(condition.Operator), Field: string(condition.Field), Values: slices.Clone(condition.Values),
		})
	}

	return out
}
